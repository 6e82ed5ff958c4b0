"""Goal: every VM that has no host gets one as soon as one can take it; one that is to be deleted before it had a host just goes."""

from houyi.base.log import get_log
from houyi.control.control import PLATFORM, Control, new_event
from houyi.control.placements import choose_host, host_limits
from houyi.model.errors import HouyiError
from houyi.model.vm import Vm
from houyi.planning.placement.filters import amounts
from houyi.store.claims import claim_host
from houyi.store.rows.vm import expect_vm, remove_vm
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import unplaced_vms

log = get_log(__name__)


async def place_vms(control: Control) -> None:
    """One pass. A claim that loses is tried again on fresh state, in the next pass."""
    lost = False
    for vm in await control.store.read(unplaced_vms):
        try:
            if vm.desired.deleted:
                await _forget(control, vm)
            else:
                await _place(control, vm)
        except HouyiError as refused:
            lost = True
            log.info("placement_lost", vm=vm.desired.id, code=refused.code)
    if lost:
        control.hints.poke("placement")


async def _place(control: Control, vm: Vm) -> None:
    hosts = (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items
    choice = choose_host(hosts, vm.desired.spec, control.settings.server)
    if choice.host_id is None:
        return
    host = next(host for host in hosts if host.id == choice.host_id)
    asked = amounts(vm.desired.spec)
    limits = host_limits(host, control.settings.server)
    placed = new_event(control, PLATFORM, "vm.placed", vm.desired.id, vm.desired.name, f"placed on host {host.name}", project_id=vm.desired.project_id)
    await control.store.apply([claim_host(vm.desired, host.id, asked, limits, control.clock.now()), placed])
    control.hints.poke("operations")


async def _forget(control: Control, vm: Vm) -> None:
    gone = new_event(control, PLATFORM, "vm.deleted", vm.desired.id, vm.desired.name, "it never had a host", project_id=vm.desired.project_id)
    await control.store.apply([remove_vm(vm.desired.id, vm.desired.project_id), gone], [expect_vm(vm.desired.id, vm.revision)])
    control.hints.poke("operations")
