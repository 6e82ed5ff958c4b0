"""Goal: a host that has not been heard of for a lease is shown as unreachable, also when its server died with it and nobody said goodbye."""

from houyi.control.control import Control, new_event
from houyi.control.reconcilers.placement import PLATFORM
from houyi.store.rows.host import set_host_connected
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING


async def expire_hosts(control: Control) -> None:
    """One pass."""
    silent_since = control.clock.now() - control.settings.server.lease_seconds
    for host in (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items:
        if host.connected and host.last_seen_at < silent_since:
            event = new_event(control, PLATFORM, "host.unreachable", host.id, host.name, "not heard of for a whole lease", project_id=None)
            await control.store.apply([set_host_connected(host.id, False, None), event])
