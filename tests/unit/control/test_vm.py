"""Verbs, changes and deletion of VMs: what they write, what they refuse, and that races lose nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from desk import Desk
from houyi.control.commands.vm import (
    VmChanges,
    delete_vm,
    pause_vm,
    reboot_vm,
    reset_vm,
    resume_vm,
    start_vm,
    stop_vm,
    update_vm_desired,
)
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.control import Context, Control
from houyi.control.intake.vm import take_report
from houyi.control.reconcilers.placement import place_vms
from houyi.model.errors import Conflict, HouyiError, Invalid, NoCapacity, NotFound, Problem, Stale
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import Power, RestartPolicy, StopMode, Vm, VmState
from houyi.store.claims import claimed_on
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import MINE, an_observation, load

_serials = iter(range(1, 1_000_000))
Say = Callable[[Control, Context, str], Awaitable[Operation]]


async def look(desk: Desk, name: str = "hello") -> Vm:
    return await desk.store.read(lambda c: get_vm(c, name, None))


async def report(desk: Desk, state: VmState = VmState.RUNNING, name: str = "hello", **values: Any) -> Vm:
    """Its host says that the newest generation is in force."""
    observed = an_observation((await look(desk, name)).desired, state, **values)
    assert await take_report(desk.control, desk.host_id, "i1", next(_serials), load(), [observed], [], [])
    return await look(desk, name)


async def placed(desk: Desk, state: VmState = VmState.RUNNING, name: str = "hello", **values: Any) -> Vm:
    await create_vm(desk.control, desk.me, VmAsk(**{"name": name, "image": "tiny", "vcpus": 1, "memory_mib": 1024, "disk_gib": 1} | values))
    await place_vms(desk.control)
    return await report(desk, state, name)


@pytest.mark.parametrize(
    ("say", "state", "verb", "changed"),
    [
        (start_vm, VmState.STOPPED, "vm.start", {"power_serial": 2}),
        (start_vm, VmState.CRASHED, "vm.start", {"power_serial": 2}),
        (stop_vm, VmState.RUNNING, "vm.stop", {"power": Power.STOPPED, "power_serial": 2}),
        (pause_vm, VmState.RUNNING, "vm.pause", {"power": Power.PAUSED, "power_serial": 2}),
        (resume_vm, VmState.PAUSED, "vm.resume", {"power_serial": 2}),
        (reboot_vm, VmState.RUNNING, "vm.reboot", {"reboot_serial": 1}),
        (reset_vm, VmState.RUNNING, "vm.reset", {"reset_serial": 1}),
        (delete_vm, VmState.RUNNING, "vm.delete", {"deleted": True}),
    ],
)
async def test_a_verb_writes_its_wish_its_operation_and_its_event(desk: Desk, say: Say, state: VmState, verb: str, changed: dict[str, Any]) -> None:
    before = await placed(desk, state)
    operation = await say(desk.control, desk.me, "hello")
    after = await look(desk, before.desired.id)
    assert after.desired == replace(before.desired, generation=2, **changed)
    assert (operation.verb, operation.state, operation.target_generation, operation.revision) == (verb, OperationState.QUEUED, 2, after.revision)
    last = (await desk.store.read(lambda c: list_events(c, MINE, EVERYTHING, kind=verb))).items[-1]
    assert (last.actor, last.request_id, last.target_id, last.revision) == ("token:me", "r1", before.desired.id, after.revision)


async def test_how_a_stop_is_done(desk: Desk) -> None:
    await placed(desk)
    await stop_vm(desk.control, desk.me, "hello", mode=StopMode.FORCE, grace_seconds=5)
    desired = (await look(desk)).desired
    assert (desired.stop_mode, desired.grace_seconds) == (StopMode.FORCE, 5)
    for seconds in (-1, 3601):
        with pytest.raises(Invalid) as caught:
            await stop_vm(desk.control, desk.me, "hello", grace_seconds=seconds)
        assert caught.value.code == "grace_invalid"


async def test_already_so_is_done_at_once_and_changes_nothing(desk: Desk) -> None:
    before = await placed(desk)
    operation = await start_vm(desk.control, desk.me, "hello")
    assert (operation.state, operation.progress, operation.ended_at) == (OperationState.DONE, 1.0, 1000.0)
    assert (await look(desk)).desired == before.desired


async def test_the_same_wish_again_waits_for_the_first(desk: Desk) -> None:
    await placed(desk, VmState.STOPPED)
    first = await start_vm(desk.control, desk.me, "hello")
    second = await start_vm(desk.control, desk.me, "hello")
    assert (second.state, second.target_generation) == (OperationState.QUEUED, first.target_generation)
    assert second.id != first.id


async def test_verbs_said_in_a_row_are_all_taken(desk: Desk) -> None:
    await placed(desk)
    for say in (pause_vm, resume_vm, reboot_vm, stop_vm, start_vm, reset_vm):
        await say(desk.control, desk.me, "hello")
    desired = (await look(desk)).desired
    assert (desired.generation, desired.power, desired.power_serial, desired.reboot_serial, desired.reset_serial) == (7, Power.RUNNING, 5, 1, 1)


async def test_after_a_failure_the_same_wish_is_a_new_try(desk: Desk) -> None:
    await placed(desk)
    await report(desk, VmState.FAILED, error=Problem("x", "x"), error_generation=1)
    assert (await start_vm(desk.control, desk.me, "hello")).target_generation == 2
    await report(desk, VmState.FAILED, error=Problem("x", "x"), error_generation=1, generation=1)
    assert (await start_vm(desk.control, desk.me, "hello")).target_generation == 3, "still failed while the new try is under way"


@pytest.mark.parametrize(
    ("say", "state", "code"),
    [
        (pause_vm, VmState.STOPPED, "vm_not_running"),
        (resume_vm, VmState.STOPPED, "vm_not_paused"),
        (reboot_vm, VmState.PAUSED, "vm_paused"),
        (start_vm, VmState.PAUSED, "vm_paused"),
        (reset_vm, VmState.CRASHED, "vm_not_running"),
    ],
)
async def test_a_refusal_says_the_state_and_writes_nothing(desk: Desk, say: Say, state: VmState, code: str) -> None:
    await placed(desk, state)
    revision = desk.store.revision
    with pytest.raises(Conflict, match="'hello'") as caught:
        await say(desk.control, desk.me, "hello")
    assert (caught.value.code, caught.value.extra["state"]) == (code, state.value)
    assert desk.store.revision == revision


async def test_another_projects_vm_is_not_there(desk: Desk) -> None:
    vm = await placed(desk)
    for say in (start_vm, stop_vm, reboot_vm, delete_vm):
        for reference in ("hello", vm.desired.id):
            with pytest.raises(NotFound):
                await say(desk.control, desk.them, reference)
    with pytest.raises(NotFound):
        await update_vm_desired(desk.control, desk.them, vm.desired.id, VmChanges(name="theirs"))
    await reboot_vm(desk.control, desk.admin, vm.desired.id)


async def test_verbs_at_once_lose_nothing(both: Desk) -> None:
    await placed(both)
    got = await asyncio.gather(*(reboot_vm(both.control, both.me, "hello") for _ in range(7)))
    desired = (await look(both)).desired
    assert (desired.reboot_serial, desired.generation) == (7, 8)
    assert sorted(operation.target_generation for operation in got) == list(range(2, 9))


async def test_deletion(desk: Desk) -> None:
    vm = await placed(desk, protected=True)
    with pytest.raises(Conflict) as caught:
        await delete_vm(desk.control, desk.me, "hello")
    assert caught.value.code == "vm_protected"
    await update_vm_desired(desk.control, desk.me, "hello", VmChanges(protected=False))
    with pytest.raises(Stale):
        await delete_vm(desk.control, desk.me, "hello", expected=vm.revision)
    first = await delete_vm(desk.control, desk.me, "hello", expected=(await look(desk)).revision)
    assert first.target_generation == 2
    again = await delete_vm(desk.control, desk.me, vm.desired.id)
    assert (await look(desk, vm.desired.id)).desired.generation == 2
    assert again.state is OperationState.QUEUED
    for say in (start_vm, stop_vm, reboot_vm):
        with pytest.raises(Conflict) as caught:
            await say(desk.control, desk.me, vm.desired.id)
        assert caught.value.code == "vm_deleting"
    with pytest.raises(Conflict):
        await update_vm_desired(desk.control, desk.me, vm.desired.id, VmChanges(name="x"))
    assert await take_report(desk.control, desk.host_id, "i1", next(_serials), load(), [], [vm.desired.id], [])
    with pytest.raises(NotFound):
        await look(desk, vm.desired.id)


async def test_changes(desk: Desk) -> None:
    before = await placed(desk)
    changes = VmChanges(
        name="renamed", labels={"a": "b"}, restart_policy=RestartPolicy.ALWAYS, user_data="#x", video=False, cpu_model="EPYC-Rome", protected=True
    )
    after = await update_vm_desired(desk.control, desk.me, "hello", changes)
    assert (after.desired.name, after.desired.generation, after.protected) == ("renamed", 2, True)
    spec = after.desired.spec
    assert (spec.labels, spec.restart_policy, spec.user_data, spec.video, spec.cpu_model) == ({"a": "b"}, RestartPolicy.ALWAYS, "#x", False, "EPYC-Rome")
    assert after.desired.nics == before.desired.nics
    protected = await update_vm_desired(desk.control, desk.me, "renamed", VmChanges(protected=False))
    assert (protected.desired.generation, protected.revision) == (2, after.revision + 1), "protection is no matter of the host's"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("name_invalid", VmChanges(name="No")),
        ("name_taken", VmChanges(name="neighbour")),
        ("vcpus_invalid", VmChanges(vcpus=0)),
        ("memory_invalid", VmChanges(memory_mib=1)),
        ("labels_invalid", VmChanges(labels={"-": ""})),
        ("no_capacity", VmChanges(memory_mib=8000)),
        ("no_capacity", VmChanges(vcpus=4)),
    ],
)
async def test_a_change_is_refused_whole(desk: Desk, code: str, changes: VmChanges) -> None:
    await placed(desk, name="neighbour")
    before = await placed(desk)
    with pytest.raises(HouyiError) as caught:
        await update_vm_desired(desk.control, desk.me, "hello", replace(changes, video=False))
    assert caught.value.code == code
    assert await look(desk) == before


async def test_if_match(both: Desk) -> None:
    vm = await placed(both)
    got = await asyncio.gather(
        *(update_vm_desired(both.control, both.me, "hello", VmChanges(labels={"n": str(number)}), expected=vm.revision) for number in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in got) == ["Stale"] * 4 + ["Vm"]
    await asyncio.gather(*(update_vm_desired(both.control, both.me, "hello", VmChanges(labels={"free": str(number)})) for number in range(5)))
    assert (await look(both)).desired.generation == 7, "without it everybody's change is made, one after another"


async def test_a_new_size_is_claimed_when_it_grows_and_given_back_at_the_next_start(desk: Desk) -> None:
    await placed(desk)

    async def claimed() -> tuple[int, int]:
        now = await desk.store.read(lambda c: claimed_on(c, desk.host_id))
        return now["vcpu"], now["memory_mib"]

    assert await claimed() == (1, 1088)
    await update_vm_desired(desk.control, desk.me, "hello", VmChanges(vcpus=2, memory_mib=2048))
    assert await claimed() == (2, 2112)
    await update_vm_desired(desk.control, desk.me, "hello", VmChanges(vcpus=1, memory_mib=512))
    assert await claimed() == (2, 2112), "it still runs with what it had"
    await stop_vm(desk.control, desk.me, "hello")
    await report(desk, VmState.STOPPED)
    await start_vm(desk.control, desk.me, "hello")
    assert await claimed() == (1, 576)


async def test_growth_at_once_never_exceeds_the_host(both: Desk) -> None:
    """Three VMs of 1 GiB on a host with 7.5 GiB: of wishes for 5 GiB one has room."""
    for name in ("a", "b", "c"):
        await placed(both, name=name)
    got = await asyncio.gather(
        *(update_vm_desired(both.control, both.me, name, VmChanges(memory_mib=5120)) for name in ("a", "b", "c")), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in got) == ["NoCapacity", "NoCapacity", "Vm"]
    (lost, _) = [one for one in got if isinstance(one, NoCapacity)]
    assert lost.extra["asked"]["memory_mib"] == 5184
    assert (await both.store.read(lambda c: get_host(c, both.host_id))).claimed["memory_mib"] == 1088 * 2 + 5184


async def test_a_vm_without_a_host_claims_nothing_when_it_changes(desk: Desk) -> None:
    await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await update_vm_desired(desk.control, desk.me, "hello", VmChanges(memory_mib=256))
    await place_vms(desk.control)
    assert (await desk.store.read(lambda c: claimed_on(c, desk.host_id)))["memory_mib"] == 320
