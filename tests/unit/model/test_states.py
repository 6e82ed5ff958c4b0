"""The laws: which state may follow which, and what people see."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

import pytest

from houyi.model import image, operation, vm
from houyi.model.host import Accelerator, AcceleratorProbe, Host, HostFacts, HostState, effective_host
from houyi.model.ids import HostId, ImageId, ProjectId, VmId
from houyi.model.resources import add, missing
from houyi.model.vm import DesiredVm, EffectiveState, ObservedVm, Power, Vm, VmSpec, VmState, effective

DESIRED = DesiredVm(
    id=VmId("v"),
    project_id=ProjectId("p"),
    name="n",
    epoch=1,
    generation=1,
    spec=VmSpec(image_id=ImageId("i"), vcpus=1, memory_mib=128, disk_gib=1),
    power=Power.RUNNING,
)
OBSERVED = ObservedVm(id=VmId("v"), epoch=1, generation=1, state=VmState.RUNNING)
VM = Vm(desired=DESIRED, protected=False, host_id=HostId("h"), observed=OBSERVED, host_heard=True, created_at=0, revision=1)


@pytest.mark.parametrize(
    ("next_", "first"),
    [(vm.NEXT, VmState.ABSENT), (image.NEXT, image.ImageState.WAITING), (operation.NEXT, operation.OperationState.QUEUED)],
    ids=["vm", "image", "operation"],
)
def test_every_state_is_in_the_table_and_can_be_reached(next_: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum) -> None:
    assert set(next_) == set(type(first))
    reached, ahead = {first}, {first}
    while ahead:
        ahead = {after for state in ahead for after in next_[state]} - reached
        reached |= ahead
    assert reached == set(next_)
    assert not any(state in after for state, after in next_.items()), "staying is always allowed and is not listed"


def test_what_the_law_of_vms_forbids() -> None:
    """That the platform's own ways are within it is proved by planning/test_lifecycle.py and tests/sim, whatever guests and people do meanwhile."""
    states = set(VmState)
    assert {state for state in states if vm.may_follow(state, VmState.STARTING)} == {VmState.PREPARING, VmState.STARTING}, "started unprepared"
    assert {state for state in states if vm.may_follow(VmState.REMOVING, state)} == {VmState.REMOVING, VmState.ABSENT}, "wanted again after all"
    assert {state for state in states if vm.may_follow(VmState.ABSENT, state)} == {VmState.ABSENT, VmState.PREPARING}
    assert not any(vm.may_follow(state, VmState.FAILED) for state in (VmState.STOPPED, VmState.CRASHED)), "failed while nothing was tried"
    assert all(vm.may_follow(state, state) for state in states)


def test_an_ended_operation_stays_so() -> None:
    assert {state for state, after in operation.NEXT.items() if not after} == operation.ENDED


def test_a_refused_image_stays_so() -> None:
    assert image.NEXT[image.ImageState.REFUSED] == frozenset()


@pytest.mark.parametrize("state", VmState)
def test_what_its_host_says_is_shown(state: VmState) -> None:
    shown = effective(replace(VM, observed=replace(OBSERVED, state=state)))
    assert shown not in {EffectiveState.PENDING, EffectiveState.UNKNOWN}
    if state in {VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.CRASHED, VmState.STARTING, VmState.STOPPING}:
        assert shown.value == state.value


def test_what_is_shown_when_its_host_says_nothing() -> None:
    assert effective(replace(VM, host_heard=False)) is EffectiveState.UNKNOWN
    assert effective(replace(VM, host_id=None, observed=None)) is EffectiveState.PENDING
    assert effective(replace(VM, observed=None)) is EffectiveState.CREATING
    deleted = replace(DESIRED, deleted=True)
    assert effective(replace(VM, desired=deleted, host_heard=False)) is EffectiveState.DELETING


def test_a_wish_cannot_hide_that_a_host_is_not_heard_of() -> None:
    facts = HostFacts(
        hostname="h",
        boot_id="b",
        agent_version="1",
        qemu_version="10",
        libvirt_version="11",
        kernel="6",
        cpu_model="x",
        cpus=2,
        memory_mib=1024,
        disk_gib=10,
        numa_nodes=1,
        accelerator=AcceleratorProbe(accelerator=Accelerator.QEMU, verdict="absent", reason="there is no /dev/kvm"),
    )
    host = Host(
        id=HostId("h"),
        name="h",
        labels={},
        cordoned=True,
        facts=facts,
        load=None,
        capacity={},
        claimed={},
        last_seen_at=0,
        connected=True,
        created_at=0,
        revision=1,
    )
    assert effective_host(host) is HostState.CORDONED
    assert effective_host(replace(host, cordoned=False)) is HostState.READY
    assert effective_host(replace(host, connected=False)) is HostState.UNREACHABLE
    assert effective_host(replace(host, facts=None)) is HostState.JOINING


def test_amounts() -> None:
    assert add({"vcpu": 1}, {"vcpu": 2, "gpu": 1}) == {"vcpu": 3, "gpu": 1}
    assert missing({"vcpu": 2, "gpu": 1}, {"vcpu": 2}) == {"gpu": 1}
    assert missing({"vcpu": 2}, {"vcpu": 3}) == {}
