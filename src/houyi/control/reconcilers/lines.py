"""Goal: the ways between hosts are measured before anything has to move over them. It asks the two ends of one after the other; their answers come by intake."""

from houyi.control.control import Control
from houyi.model.host import HostState, effective_host
from houyi.model.ids import MigrationId
from houyi.planning.migration.lines import next_line
from houyi.store.line_asks import put_ask
from houyi.store.views.host import list_hosts
from houyi.store.views.line import list_lines
from houyi.store.views.page import EVERYTHING

FIT = frozenset({HostState.READY, HostState.CORDONED, HostState.DRAINING})


async def measure_lines(control: Control) -> None:
    """One pass."""
    hosts = (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items
    if len(hosts) < 2:
        return
    known = await control.store.read(list_lines)
    fit = [host.id for host in hosts if effective_host(host) in FIT]
    asked = next_line(known, fit, (MigrationId(control.ids.new()) for _ in range(1)), control.clock.now())
    if asked:
        await control.store.apply([put_ask(one) for one in asked])
