"""A host is drained: moves are asked for, one that fails is tried again later and holds up no other, and it ends when nothing is left, or is ended."""

from dataclasses import replace
from pathlib import Path

import pytest

from desk import Desk
from houyi.control.commands.host import cancel_drain, drain_host, plan_host_drain, update_host_desired
from houyi.control.commands.operation import cancel_operation
from houyi.control.reconcilers.drains import drain_hosts
from houyi.model.errors import Conflict, Forbidden, Problem
from houyi.model.host import HostState, effective_host
from houyi.model.ids import HostId
from houyi.model.migration import Migration, MigrationState
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import DesiredVm, MigrationPolicy, VmState
from houyi.store.claims import claim_host, drop_landing, settle_landing
from houyi.store.courses import move_course
from houyi.store.rows.host import put_host_facts
from houyi.store.rows.vm import insert_vm, put_observed
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host
from houyi.store.views.migration import get_migration, open_migrations
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import a_vm, an_observation, facts, put_host


async def new_vm(desk: Desk, name: str, **values: object) -> DesiredVm:
    """Running on the desk's host."""
    vm = a_vm(desk.image, name, **values)
    await desk.store.apply([insert_vm(vm, False, desk.clock.now())])
    amounts = {"vcpu": 1, "memory_mib": 192, "disk_gib": 1}
    await desk.store.apply([claim_host(vm, desk.host_id, amounts, dict.fromkeys(amounts, 10000), desk.clock.now())])
    epoch = (await desk.store.read(lambda c: get_vm(c, vm.id, None))).desired.epoch
    await desk.store.apply([put_observed(desk.host_id, vm.project_id, an_observation(vm, VmState.RUNNING, epoch=epoch, accelerator="qemu"))])
    return vm


async def moves(desk: Desk) -> dict[str, Migration]:
    """Those that are open, by the VM's name."""
    return {one.vm_name: one for one in await desk.store.read(open_migrations)}


async def on_course(desk: Desk, one: Migration, state: MigrationState) -> Migration:
    await desk.store.apply([move_course(one, replace(one.course, state=state))])
    return await desk.store.read(lambda c: get_migration(c, one.id, None))


async def ends(desk: Desk, one: Migration, state: MigrationState) -> None:
    """The workflow's part: it has arrived, or failed."""
    if state is MigrationState.DONE:
        for step in (MigrationState.PREPARING, MigrationState.MOVING, MigrationState.FINISHING):
            one = await on_course(desk, one, step)
    course = replace(one.course, state=state, ended_at=desk.clock.now(), error=None if state is MigrationState.DONE else Problem("x", "it failed"))
    what_follows = settle_landing(one) if state is MigrationState.DONE else drop_landing(one)
    await desk.store.apply([move_course(one, course), what_follows])


async def host_state(desk: Desk) -> HostState:
    return effective_host(await desk.store.read(lambda c: get_host(c, desk.host_id)))


async def now(desk: Desk, operation: Operation) -> Operation:
    return await desk.store.read(lambda c: get_operation(c, operation.id, None))


@pytest.fixture
async def other(desk: Desk) -> HostId:
    return await put_host(desk.store, "h2", at=desk.clock.now())


async def test_all_go_and_then_it_is_in_maintenance(desk: Desk, other: HostId) -> None:
    vms = [await new_vm(desk, name) for name in ("a", "b")]
    operation = await drain_host(desk.control, desk.admin, "h1")
    assert await host_state(desk) is HostState.DRAINING
    await drain_hosts(desk.control)
    found = await moves(desk)
    assert {(one.source_id, one.destination_id, one.spec.reason, one.spec.priority) for one in found.values()} == {(desk.host_id, other, "drain", 10)}
    assert set(found) == {"a", "b"}
    shown = await now(desk, operation)
    assert (shown.state, shown.stage, shown.progress) == (OperationState.RUNNING, "0 of 2 moved, 2 under way", 0.0)
    await ends(desk, found["a"], MigrationState.DONE)
    await drain_hosts(desk.control)
    shown = await now(desk, operation)
    assert (shown.stage, shown.progress) == ("1 of 2 moved, 1 under way", 0.5)
    await ends(desk, found["b"], MigrationState.DONE)
    await drain_hosts(desk.control)
    shown = await now(desk, operation)
    assert (shown.state, shown.progress, shown.stage) == (OperationState.DONE, 1.0, "2 moved, the host is empty")
    assert await host_state(desk) is HostState.MAINTENANCE
    events = (await desk.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=desk.host_id))).items
    assert {"host.drain", "host.maintenance"} <= {one.kind for one in events}
    assert {(await desk.store.read(lambda c, vm=vm: get_vm(c, vm.id, None))).host_id for vm in vms} == {other}
    await drain_hosts(desk.control)
    assert await now(desk, operation) == shown, "what is done is done"
    await update_host_desired(desk.control, desk.admin, "h1", cordoned=False)
    assert await host_state(desk) is HostState.READY
    assert (await now(desk, operation)).state is OperationState.DONE


async def test_asked_again_it_is_the_same_drain(desk: Desk, other: HostId) -> None:
    await new_vm(desk, "a")
    first = await drain_host(desk.control, desk.admin, "h1")
    assert (await drain_host(desk.control, desk.admin, "h1")).id == first.id
    await drain_hosts(desk.control)
    await drain_hosts(desk.control)
    assert len(await moves(desk)) == 1, "a VM on its way is not asked for again"


async def test_one_that_fails_is_tried_again_later_and_holds_up_no_other(desk: Desk, other: HostId) -> None:
    await new_vm(desk, "a")
    await new_vm(desk, "b")
    operation = await drain_host(desk.control, desk.admin, "h1")
    await drain_hosts(desk.control)
    found = await moves(desk)
    await ends(desk, found["a"], MigrationState.FAILED)
    await ends(desk, found["b"], MigrationState.DONE)
    for wait in (30, 60, 120):
        await drain_hosts(desk.control)
        assert await moves(desk) == {}
        shown = await now(desk, operation)
        assert (shown.state, shown.stage) == (OperationState.RUNNING, "1 of 2 moved, 0 under way, 1 to be tried again")
        desk.clock.at += wait - 1
        await drain_hosts(desk.control)
        assert await moves(desk) == {}, "not before its time"
        desk.clock.at += 2
        await drain_hosts(desk.control)
        again = await moves(desk)
        assert set(again) == {"a"}
        await ends(desk, again["a"], MigrationState.FAILED)


async def test_what_cannot_move_is_told_without_names(desk: Desk, other: HostId) -> None:
    await new_vm(desk, "secret-name", spec={"migration_policy": MigrationPolicy.NEVER})
    operation = await drain_host(desk.control, desk.admin, "h1")
    await drain_hosts(desk.control)
    shown = await now(desk, operation)
    assert (shown.state, shown.blocked_on) == (OperationState.RUNNING, "1 cannot move (migration_forbidden)")
    assert await host_state(desk) is HostState.DRAINING
    events = (await desk.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=desk.host_id))).items
    assert sum(one.kind == "host.drain_blocked" for one in events) == 1
    await drain_hosts(desk.control)
    assert len((await desk.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=desk.host_id))).items) == len(events), "once"


async def test_uncordon_ends_it_and_what_has_not_begun(desk: Desk, other: HostId) -> None:
    for name in ("a", "b"):
        await new_vm(desk, name)
    operation = await drain_host(desk.control, desk.admin, "h1")
    await drain_hosts(desk.control)
    found = await moves(desk)
    await on_course(desk, await on_course(desk, found["a"], MigrationState.PREPARING), MigrationState.MOVING)
    await update_host_desired(desk.control, desk.admin, "h1", cordoned=False)
    assert await host_state(desk) is HostState.READY
    assert {name: one.spec.cancelled for name, one in (await moves(desk)).items()} == {"a": False, "b": True}
    shown = await now(desk, operation)
    assert (shown.state, shown.cancellable) == (OperationState.CANCELLED, False)
    await drain_hosts(desk.control)
    assert len(await moves(desk)) == 2


async def test_its_operation_can_be_cancelled_by_administrators_and_it_stays_cordoned(desk: Desk, other: HostId) -> None:
    await new_vm(desk, "a")
    operation = await drain_host(desk.control, desk.admin, "h1")
    with pytest.raises(Forbidden, match="administrators"):
        await cancel_operation(desk.control, desk.me, operation.id)
    assert (await cancel_operation(desk.control, desk.admin, operation.id)).state is OperationState.CANCELLED
    assert await host_state(desk) is HostState.CORDONED
    with pytest.raises(Conflict) as refused:
        await cancel_drain(desk.control, desk.admin, operation)
    assert refused.value.code == "operation_ended"


async def test_an_empty_host_is_drained_at_once(desk: Desk) -> None:
    operation = await drain_host(desk.control, desk.admin, "h1")
    assert await host_state(desk) is HostState.MAINTENANCE
    await drain_hosts(desk.control)
    assert (await now(desk, operation)).state is OperationState.DONE


async def test_nowhere_to_go(desk: Desk) -> None:
    await new_vm(desk, "a")
    host, plan, names = await plan_host_drain(desk.control, "h1")
    assert (host.name, names[desk.host_id], [one.vm_name for one in plan.staying]) == ("h1", "h1", ["a"])
    operation = await drain_host(desk.control, desk.admin, "h1")
    await drain_hosts(desk.control)
    assert (await now(desk, operation)).blocked_on == "1 cannot move (no_capacity)"
    await put_host(desk.store, "h2", at=desk.clock.now())
    await drain_hosts(desk.control)
    assert set(await moves(desk)) == {"a"}
    assert (await now(desk, operation)).blocked_on == ""


async def test_a_host_whose_emulator_corrupts_memory_gives_only_stopped_vms_away(desk: Desk, other: HostId) -> None:
    await new_vm(desk, "runs")
    stopped = await new_vm(desk, "stopped")
    epoch = (await desk.store.read(lambda c: get_vm(c, stopped.id, None))).desired.epoch
    await desk.store.apply([put_observed(desk.host_id, stopped.project_id, an_observation(stopped, VmState.STOPPED, epoch=epoch))])
    host = await desk.store.read(lambda c: get_host(c, "h1"))
    await desk.store.apply([put_host_facts(desk.host_id, "i1", replace(facts(), qemu_version="7.2.11"), host.capacity, desk.clock.now())])
    _, plan, _ = await plan_host_drain(desk.control, "h1")
    assert {one.vm_name: [problem.code for problem in one.problems] for one in plan.departures} == {"stopped": [], "runs": ["source_corrupts_memory"]}
    operation = await drain_host(desk.control, desk.admin, "h1")
    await drain_hosts(desk.control)
    assert set(await moves(desk)) == {"stopped"}
    await ends(desk, (await moves(desk))["stopped"], MigrationState.DONE)
    await drain_hosts(desk.control)
    assert (await now(desk, operation)).blocked_on == "1 cannot move (source_corrupts_memory)"


async def test_nothing_comes_to_a_host_that_is_drained(desk: Desk, other: HostId, tmp_path: Path) -> None:
    """Neither VMs nor those of another drain."""
    await new_vm(desk, "a")
    await drain_host(desk.control, desk.admin, "h2")
    _, plan, _ = await plan_host_drain(desk.control, "h1")
    assert [problem.detail for problem in plan.staying[0].problems] == ["host h2 is maintenance"]
