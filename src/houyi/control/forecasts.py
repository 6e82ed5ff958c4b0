"""Forecasts of moves as commands use them: what is known, read from the store."""

from collections.abc import Collection
from dataclasses import replace

from houyi.control.control import Control
from houyi.model.ids import VmId
from houyi.model.migration import Terms
from houyi.model.vm import VmSpec
from houyi.planning.migration.experience import Experience
from houyi.planning.migration.steer import may_throttle
from houyi.store.views.line import list_lines
from houyi.store.views.migration import last_migrations, samples_of

MOVES_READ = 200
"""Enough that a pair of hosts of a small fleet, and a VM that is moved every day, find their own among them."""


async def look_back(control: Control, vm_ids: Collection[VmId]) -> Experience:
    """What forecasts of moves of these VMs rest on now; one reading serves all of them."""
    return await control.store.read(lambda c: Experience(moves=last_migrations(c, MOVES_READ), samples=samples_of(c, vm_ids), lines=list_lines(c)))


def terms_of(control: Control, spec: VmSpec) -> Terms:
    """Of a move of which nothing is said but that it shall be: as the VM's own settings say."""
    terms = Terms(
        policy=spec.migration_policy,
        downtime_ms_max=spec.downtime_ms_max,
        postcopy=spec.postcopy,
        encrypted=control.settings.server.migration_encryption == "tls",
    )
    return replace(terms, throttles=may_throttle(terms))
