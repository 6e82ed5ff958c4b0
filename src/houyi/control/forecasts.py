"""Forecasts of moves as commands use them: what is known, read from the store."""

from collections.abc import Collection

from houyi.control.control import Control
from houyi.model.ids import VmId
from houyi.planning.migration.experience import Experience
from houyi.store.views.migration import last_migrations, samples_of

MOVES_READ = 200
"""Enough that a pair of hosts of a small fleet, and a VM that is moved every day, find their own among them."""


async def look_back(control: Control, vm_ids: Collection[VmId]) -> Experience:
    """What forecasts of moves of these VMs rest on now; one reading serves all of them."""
    return await control.store.read(lambda c: Experience(moves=last_migrations(c, MOVES_READ), samples=samples_of(c, vm_ids)))
