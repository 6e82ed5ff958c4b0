"""Forecasts of moves as commands use them: what is known, read from the store."""

from houyi.control.control import Control
from houyi.planning.migration.experience import Experience
from houyi.store.views.migration import last_migrations

MOVES_READ = 200
"""Enough that a pair of hosts of a small fleet, and a VM that is moved every day, find their own among them."""


async def look_back(control: Control) -> Experience:
    """What forecasts rest on now; one reading serves any number of them."""
    return Experience(moves=await control.store.read(lambda c: last_migrations(c, MOVES_READ)))
