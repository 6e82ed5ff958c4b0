"""Goal: a host that has not been heard of for a lease is shown as unreachable, whether its link was lost or its server died with it."""

from contextlib import suppress
from functools import partial

from houyi.control.control import PLATFORM, Control, new_event
from houyi.model.errors import Stale
from houyi.store.mutation import touch
from houyi.store.rows.host import expect_silent, set_host_connected
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import vms_of_host


async def expire_hosts(control: Control) -> None:
    """One pass."""
    silent_since = control.clock.now() - control.settings.server.lease_seconds
    for host in (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items:
        if not host.connected or host.last_seen_at > silent_since:
            continue
        event = new_event(control, PLATFORM, "host.unreachable", host.id, host.name, "not heard of for a whole lease", project_id=None)
        vms = await control.store.read(partial(vms_of_host, host_id=host.id))
        shown = [touch("vm", vm.desired.id, vm.desired.project_id) for vm in vms]
        with suppress(Stale):  # it was heard of just now
            await control.store.apply([set_host_connected(host.id, False, None), event, *shown], [expect_silent(host.id, silent_since)])
