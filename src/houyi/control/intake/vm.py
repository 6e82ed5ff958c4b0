"""A host's words about its VMs. What is old, or about VMs that the host does not hold, is dropped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from houyi.base.log import get_log
from houyi.control.control import Control, again, new_event
from houyi.control.intake.host import host_context, load_mutations
from houyi.control.intake.memory import MEMORY_FAILURE, suspicion
from houyi.control.intake.migration import move_mutations
from houyi.model.cpu import sound_features
from houyi.model.errors import Stale
from houyi.model.host import HostLoad
from houyi.model.ids import HostId, VmId
from houyi.model.migration import GuestSample, ObservedMove
from houyi.model.vm import ObservedVm, StateReason, Vm
from houyi.store.mutation import Mutation
from houyi.store.rows.host import expect_report
from houyi.store.rows.vm import add_sample, put_observed, remove_vm
from houyi.store.views.vm import vms_by_id

log = get_log(__name__)

_KIND = re.compile(r"[a-z][a-z0-9_]{0,40}")
"""What may become an event's kind: hosts are believed about their VMs, not trusted with the shape of our records."""
_DETAIL_MAX = 1000
_FIGURE_MAX = 1e12
"""Of a sample; also what is no number at all is beyond it."""


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
    moves: Sequence[ObservedMove] = (),
    samples: Sequence[GuestSample] = (),
) -> bool:
    """Believe a report as far as it may be believed, in one transaction; False: it was older than what is known and nothing of it was taken."""

    async def attempt() -> bool:
        moved = await move_mutations(control, host_id, moves)
        mutations = await load_mutations(control, host_id, instance, serial, load, force=bool(vms or gone or happened or moved or samples))
        if mutations is None:
            return False
        mutations += moved
        ids = {observed.id for observed in vms} | set(gone) | {one.vm_id for one in happened} | {sample.vm_id for sample in samples}
        known = await control.store.read(lambda c: vms_by_id(c, ids)) if ids else {}
        held = {vm_id: vm for vm_id, vm in known.items() if vm.host_id == host_id}
        left = {observed.id for observed in vms if observed.id in known and observed.epoch < known[observed.id].desired.epoch}
        for strange in sorted(ids - held.keys() - left):
            log.warning("report_of_strange_vm", host=host_id, vm=strange)
        for observed in vms:
            mutations += _take_observed(control, host_id, held.get(observed.id), observed)
        for one in happened:
            mutations += _take_happened(control, host_id, held.get(one.vm_id), one)
        failures = sum(one.kind == MEMORY_FAILURE and one.vm_id in held for one in happened)
        mutations += await suspicion(control, host_id, failures) if failures else []
        mutations += [add_sample(one, held[one.vm_id].desired.project_id) for one in samples if one.vm_id in held and _sound(one)]
        for vm_id in gone:
            mutations += _take_gone(control, host_id, held.get(vm_id))
        if mutations:
            await control.store.apply(mutations, [expect_report(host_id, instance, serial)])
        return True

    try:
        taken = await again(attempt, codes=("observation_old",))
    except Stale as old:
        if old.code != "report_old":
            raise
        return False
    if vms or gone or happened:
        control.hints.poke("operations")
        control.hints.poke("placement")
    if moves:
        control.hints.poke("migrations")
    return taken


def _take_observed(control: Control, host_id: HostId, vm: Vm | None, observed: ObservedVm) -> list[Mutation]:
    observed = replace(observed, cpu_features=sound_features(observed.cpu_features))
    if vm is None or vm.observed == observed:
        return []
    if observed.epoch != vm.desired.epoch:
        log.info("report_dropped", host=host_id, vm=observed.id, epoch=observed.epoch, held=vm.desired.epoch)
        return []
    before = vm.observed
    mutations = [put_observed(host_id, vm.desired.project_id, observed)]
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
    return mutations


def _sound(sample: GuestSample) -> bool:
    return all(0 <= figure <= _FIGURE_MAX for figure in (sample.dirty_mib_s, sample.memory_mib, sample.disk_mib, sample.at))


def _take_happened(control: Control, host_id: HostId, vm: Vm | None, one: Happened) -> list[Mutation]:
    if vm is None or not _KIND.fullmatch(one.kind):
        return []
    detail = one.detail[:_DETAIL_MAX]
    return [new_event(control, host_context(host_id), f"vm.{one.kind}", one.vm_id, vm.desired.name, detail, project_id=vm.desired.project_id)]


def _take_gone(control: Control, host_id: HostId, vm: Vm | None) -> list[Mutation]:
    """Nothing is left of it on its host. Only a VM whose deletion was asked is forgotten; another one's loss is shown, never assumed."""
    if vm is None or not vm.desired.deleted:
        return []
    event = new_event(control, host_context(host_id), "vm.deleted", vm.desired.id, vm.desired.name, "nothing is left of it", project_id=vm.desired.project_id)
    return [remove_vm(vm.desired.id, vm.desired.project_id), event]
