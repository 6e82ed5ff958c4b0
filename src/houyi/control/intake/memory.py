"""Memory errors of a host, taken together: one may be a cosmic ray, several are a module that is going to fail."""

from houyi.control.control import Control, new_event
from houyi.control.intake.host import host_context
from houyi.model.ids import HostId
from houyi.store.mutation import Mutation
from houyi.store.views.event import events_since
from houyi.store.views.host import get_host

MEMORY_FAILURE = "memory_failure"
"""The kind of what a host says when memory under one of its VMs has failed."""
SUSPECTED_AFTER = 2
"""So many memory errors that reached VMs, and the host is suspected."""
_LOOK_BACK_SECONDS = 7 * 86400.0
_QUIET_SECONDS = 3600.0
"""How long nothing is said again: a module that goes down may fail page by page."""


async def suspicion(control: Control, host_id: HostId, failures: int) -> list[Mutation]:
    """An event of the host if its memory must be suspected now. :param failures: how many memory errors it tells of with this report."""
    now = control.clock.now()
    actor = host_context(host_id).actor
    told = await control.store.read(lambda c: events_since(c, f"vm.{MEMORY_FAILURE}", now - _LOOK_BACK_SECONDS))
    count = sum(event.actor == actor for event in told) + failures
    if count < SUSPECTED_AFTER:
        return []
    said = await control.store.read(lambda c: events_since(c, "host.memory_suspected", now - _QUIET_SECONDS))
    if any(event.target_id == host_id for event in said):
        return []
    host = await control.store.read(lambda c: get_host(c, host_id))
    detail = f"{count} memory errors reached VMs here within a week: drain it (`houyi host drain {host.name}`), then have its memory tested"
    return [new_event(control, host_context(host_id), "host.memory_suspected", host_id, host.name, detail, project_id=None, data={"errors": str(count)})]
