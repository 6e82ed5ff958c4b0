"""A host's words about its VMs. What is old, or about VMs that the host does not hold, is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

from houyi.base.log import get_log
from houyi.control.control import Control, new_event
from houyi.control.intake.host import host_context, load_mutations
from houyi.model.errors import HouyiError
from houyi.model.host import HostLoad
from houyi.model.ids import HostId, VmId
from houyi.model.vm import ObservedVm, StateReason, Vm
from houyi.store.mutation import Mutation
from houyi.store.rows.vm import put_observed, remove_vm
from houyi.store.views.vm import vms_by_id

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that happened to a VM and that its state alone does not tell."""

    vm_id: VmId
    kind: str
    detail: str


async def take_report(
    control: Control,
    host_id: HostId,
    instance: str,
    serial: int,
    load: HostLoad,
    vms: Sequence[ObservedVm],
    gone: Sequence[VmId],
    happened: Sequence[Happened],
) -> bool:
    """Believe a report as far as it may be believed; False: it was older than what is known and nothing of it was taken."""
    mutations = await load_mutations(control, host_id, instance, serial, load, force=bool(vms or gone or happened))
    if mutations is None:
        return False
    if not (vms or gone or happened):
        if mutations:
            await control.store.apply(mutations)
        return True
    ids = {observed.id for observed in vms} | set(gone) | {one.vm_id for one in happened}
    known = await control.store.read(lambda c: vms_by_id(c, ids))
    held = {vm_id: vm for vm_id, vm in known.items() if vm.host_id == host_id}
    for strange in ids - held.keys():
        log.warning("report_of_strange_vm", host=host_id, vm=strange)
    for observed in vms:
        await _take_observed(control, host_id, held.get(observed.id), observed)
    for one in happened:
        vm = held.get(one.vm_id)
        if vm is not None:
            mutations.append(
                new_event(control, host_context(host_id), f"vm.{one.kind}", one.vm_id, vm.desired.name, one.detail, project_id=vm.desired.project_id)
            )
    for vm_id in gone:
        mutations += _take_gone(control, host_id, held.get(vm_id))
    if mutations:
        await control.store.apply(mutations)
    control.hints.poke("operations")
    control.hints.poke("placement")
    return True


async def _take_observed(control: Control, host_id: HostId, vm: Vm | None, observed: ObservedVm) -> None:
    if vm is None or vm.observed == observed:
        return
    before = vm.observed
    mutations: list[Mutation] = [put_observed(host_id, vm.desired.project_id, observed)]
    if before is None or before.state is not observed.state:
        reason = f" ({observed.reason.value.replace('_', ' ')})" if observed.reason not in (StateReason.NONE, StateReason.REQUESTED) else ""
        data = {"from": before.state.value if before else "", "to": observed.state.value, "reason": observed.reason.value}
        detail = f"now {observed.state.value}{reason}"
        if observed.error is not None:
            detail = f"{detail}: {observed.error.detail}"
            data["code"] = observed.error.code
        mutations.append(
            new_event(control, host_context(host_id), "vm.state", observed.id, vm.desired.name, detail, project_id=vm.desired.project_id, data=data)
        )
    try:
        await control.store.apply(mutations)
    except HouyiError as refused:
        log.info("report_dropped", host=host_id, vm=observed.id, code=refused.code)


def _take_gone(control: Control, host_id: HostId, vm: Vm | None) -> list[Mutation]:
    """Nothing is left of it on its host. Only a VM whose deletion was asked is forgotten; another one's loss is shown, never assumed."""
    if vm is None or not vm.desired.deleted:
        return []
    event = new_event(control, host_context(host_id), "vm.deleted", vm.desired.id, vm.desired.name, "nothing is left of it", project_id=vm.desired.project_id)
    return [remove_vm(vm.desired.id, vm.desired.project_id), event]
