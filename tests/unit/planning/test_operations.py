"""How far an operation is: one row for each thing that can be true of its VM."""

from dataclasses import replace
from typing import Any

import pytest

from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.operation import NEXT, Operation, OperationState
from houyi.model.vm import EffectiveState, Power, StateReason, Vm, VmState, effective
from houyi.planning.operations import Progress, progress_of
from made import a_vm, an_image, an_observation, an_operation

S = OperationState
BROKEN = Problem("disk_full", "the disk is full")


def operation(verb: str = "vm.start", generation: int = 3, **values: Any) -> Operation:
    return an_operation(verb=verb, target_generation=generation, **values)


def vm(state: VmState | None = VmState.RUNNING, *, generation: int = 3, seen: int = 3, host: bool = True, heard: bool = True, **values: Any) -> Vm:
    desired = a_vm(an_image(), epoch=1, generation=generation, power=values.pop("power", Power.RUNNING), deleted=values.pop("deleted", False))
    observed = None if state is None else an_observation(desired, state, generation=seen, epoch=values.pop("epoch", 1), **values)
    return Vm(desired=desired, protected=False, host_id=HostId("h") if host else None, observed=observed, host_heard=heard, created_at=1.0, revision=1)


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        (operation(), None, Progress(state=S.FAILED, error=Problem("vm_deleted", "the VM was deleted meanwhile"))),
        (operation("vm.delete"), None, Progress(state=S.DONE, progress=1.0, stage="deleted")),
        (operation(), vm(deleted=True), Progress(state=S.FAILED, error=Problem("vm_deleted", "the VM is being deleted"))),
        (operation(), vm(heard=False), Progress(state=S.RUNNING, stage="waiting for the host", blocked_on="its host is not heard of")),
        (operation(), vm(None), Progress(state=S.RUNNING, progress=0.05, stage="given to the host")),
        (operation(), vm(epoch=0), Progress(state=S.RUNNING, progress=0.05, stage="given to the host")),
        (operation(), vm(seen=2, state=VmState.STARTING), Progress(state=S.RUNNING, progress=0.1, stage="starting")),
        (operation(), vm(seen=2, stage="fetching image", progress=0.5), Progress(state=S.RUNNING, progress=0.525, stage="fetching image")),
        (operation(), vm(seen=2, progress=1.0, stage="x"), Progress(state=S.RUNNING, progress=0.95, stage="x")),
        (operation(), vm(), Progress(state=S.DONE, progress=1.0, stage="done")),
        (operation(), vm(generation=5, seen=4), Progress(state=S.DONE, progress=1.0, stage="done")),
        (operation(), vm(VmState.FAILED, error=BROKEN, error_generation=3), Progress(state=S.FAILED, error=BROKEN)),
        (operation(), vm(VmState.FAILED, error=BROKEN, error_generation=4, generation=5), Progress(state=S.FAILED, error=BROKEN)),
        (operation(), vm(seen=2, error=BROKEN, error_generation=2, stage="x"), Progress(state=S.RUNNING, progress=0.1, stage="x")),
        (operation("vm.delete"), vm(VmState.REMOVING, deleted=True, stage="removing files"), Progress(state=S.RUNNING, progress=0.1, stage="removing files")),
        (operation("vm.delete"), vm(VmState.FAILED, deleted=True, error=BROKEN, error_generation=3), Progress(state=S.FAILED, error=BROKEN)),
    ],
)
def test_progress(asked: Operation, found: Vm | None, expected: Progress) -> None:
    got = progress_of(asked, found, "")
    assert replace(got, progress=round(got.progress, 6)) == expected


def test_a_vm_without_a_host_says_what_it_waits_for() -> None:
    waiting = vm(None, host=False)
    assert progress_of(operation(), waiting, "no capacity: x") == Progress(state=S.QUEUED, stage="waiting for a host", blocked_on="no capacity: x")
    assert progress_of(operation(), waiting, "") == Progress(state=S.QUEUED, stage="choosing a host")
    assert progress_of(operation(state=S.RUNNING), waiting, "").state is S.RUNNING, "an operation that runs never queues again"


@pytest.mark.parametrize("verb", ["vm.create", "vm.start"])
def test_a_start_that_crashed_at_once_is_no_success(verb: str) -> None:
    crashed = vm(VmState.CRASHED, reason=StateReason.QEMU_DIED)
    got = progress_of(operation(verb), crashed, "")
    assert (got.state, got.error and got.error.code) == (S.FAILED, "vm_crashed")
    assert progress_of(operation("vm.reboot"), crashed, "").state is S.DONE
    later = replace(crashed, desired=replace(crashed.desired, generation=4))
    assert progress_of(operation(verb), later, "").state is S.DONE, "the crash may belong to what was asked since"


def test_every_move_is_allowed() -> None:
    """Whatever is true of the VM, an open operation moves along NEXT or stays."""
    found = [None, *(vm(state, seen=seen, host=host, heard=heard, deleted=deleted) for state in (None, *VmState) for seen in (2, 3) for host in (True, False) for heard in (True, False) for deleted in (True, False))]  # fmt: skip
    assert {effective(one) for one in found if one is not None} >= set(EffectiveState) - {EffectiveState.STARTING}
    for state in (S.QUEUED, S.RUNNING):
        for verb in ("vm.create", "vm.stop", "vm.delete"):
            for one in found:
                after = progress_of(operation(verb, state=state), one, "").state
                assert after is state or after in NEXT[state]
