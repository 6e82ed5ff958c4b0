"""What stands against a move: every reason by its code, and none where there is none."""

from dataclasses import replace
from typing import Any

import pytest

from fleets import a_host
from houyi.model.host import Accelerator, Host
from houyi.model.ids import MigrationId
from houyi.model.vm import MigrationPolicy, Power, Vm, VmState
from houyi.planning.migration.blockers import TCG_QEMU_MIN, blockers
from made import a_vm, an_image, an_observation


def vm(state: VmState = VmState.RUNNING, *, storage: str = "local", accelerator: str = "qemu", heard: bool = True, **spec: Any) -> Vm:
    power = Power.RUNNING if state is VmState.RUNNING else Power.STOPPED
    desired = a_vm(an_image(), power=power, spec={"storage": storage, **spec})
    observed = an_observation(desired, state, accelerator=accelerator)
    return Vm(desired=desired, protected=False, host_id=a_host("a").id, observed=observed, host_heard=heard, created_at=1.0, revision=1)


def host(name: str, *, qemu: str = "10.0.2", **values: Any) -> Host:
    one = a_host(name, **values)
    assert one.facts is not None
    return replace(one, facts=replace(one.facts, qemu_version=qemu))


def codes(one: Vm, source: Host | None = None, destination: Host | None = None) -> list[str]:
    return [problem.code for problem in blockers(one, source or host("a"), destination)]


def test_nothing_stands_against_an_ordinary_move() -> None:
    assert codes(vm(), host("a"), host("b")) == []
    assert codes(vm(VmState.STOPPED), host("a"), host("b")) == []


@pytest.mark.parametrize("version", ["8.2.0", f"{TCG_QEMU_MIN - 1}.9.9", "", "unknown"])
def test_an_old_qemu_that_emulates_corrupts_what_it_sends(version: str) -> None:
    assert codes(vm(), host("a", qemu=version), host("b")) == ["source_corrupts_memory"]
    (problem,) = blockers(vm(), host("a", qemu=version), host("b"))
    assert "corrupts a guest's memory" in problem.detail
    assert f"QEMU {TCG_QEMU_MIN} or later" in problem.detail


def test_it_may_receive_and_move_stopped_vms_and_those_that_run_by_hardware() -> None:
    old = host("a", qemu="7.2.1")
    assert codes(vm(), host("b"), old) == []
    assert codes(vm(VmState.STOPPED), old, host("b")) == []
    hardware = host("a", qemu="7.2.1", accelerator=Accelerator.KVM)
    assert codes(vm(accelerator="kvm"), hardware, host("b", accelerator=Accelerator.KVM)) == []


def test_a_running_guest_cannot_change_its_accelerator_a_stopped_one_can() -> None:
    hardware = host("b", accelerator=Accelerator.KVM)
    assert codes(vm(), host("a"), hardware) == ["accelerator_differs"]
    assert codes(vm(VmState.STOPPED), host("a"), hardware) == []


def test_a_shared_folder_has_to_be_the_same_one() -> None:
    one, same, other, none = (host(name, storages=found) for name, found in (("a", {"fast": "1"}), ("b", {"fast": "1"}), ("c", {"fast": "2"}), ("d", {})))
    shared = vm(storage="fast")
    assert [codes(shared, one, there) for there in (same, other, none)] == [[], ["storage_differs"], ["storage_differs"]]
    assert codes(vm(), one, none) == [], "its disk is not there"
    assert codes(shared, none, none) == ["same_host", "storage_differs"]


def test_a_running_guest_keeps_its_cpu_features_a_stopped_one_does_not() -> None:
    def runs(*features: str) -> Vm:
        one = vm()
        assert one.observed is not None
        return replace(one, observed=replace(one.observed, cpu_features=features))

    offers, silent = host("b", cpu_features=("aes", "avx")), host("b")
    assert codes(runs("aes"), host("a"), offers) == []
    assert codes(runs("aes", "avx2"), host("a"), offers) == ["cpu_incompatible"]
    assert codes(runs("aes", "avx2"), host("a"), silent) == [], "it does not say what it has: libvirt looks when the move is prepared"
    assert codes(vm(), host("a"), offers) == []
    assert codes(vm(VmState.STOPPED), host("a"), offers) == []
    (problem,) = blockers(runs("avx2", "avx512f", "aes"), host("a"), offers)
    assert "host b does not have (avx2, avx512f)" in problem.detail
    (problem,) = blockers(runs(*(f"f{n}" for n in range(10))), host("a"), offers)
    assert "f7 and 2 more" in problem.detail


def test_all_reasons_are_told_at_once() -> None:
    moving = replace(vm(migration_policy=MigrationPolicy.NEVER), migration_id=MigrationId("m"))
    assert codes(moving, host("a", qemu="8"), host("b", cordoned=True)) == ["vm_migrating", "migration_forbidden", "source_corrupts_memory", "host_not_ready"]


def test_a_vm_whose_host_is_not_heard_of_stays_unknown() -> None:
    assert codes(vm(heard=False), host("a"), host("b")) == ["host_unreachable"]


def test_a_vm_in_between_waits() -> None:
    assert codes(vm(VmState.STARTING), host("a"), host("b")) == ["vm_busy"]


def test_settings_that_the_destination_cannot_give_keep_a_running_guest_away() -> None:
    tuned = vm()
    assert tuned.observed is not None
    tuned = replace(tuned, observed=replace(tuned.observed, tuned={"hugepages": "2M", "hpet": "on"}))
    assert codes(tuned, host("a"), host("b")) == ["tuning_incompatible"]
    there = host("b")
    assert there.facts is not None
    assert codes(tuned, host("a"), replace(there, facts=replace(there.facts, hugepages={"2048": 64}))) == []
