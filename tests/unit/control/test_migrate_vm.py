"""Moves from the wish to their end, with both ends played by the test: what is written at each turn, in which transaction, and for whom."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from desk import Desk
from houyi.control.commands.host import remove_host, update_host_desired
from houyi.control.commands.migration import MigrationAsk, cancel_migration, migrate_vm, plan_migration
from houyi.control.commands.operation import cancel_operation
from houyi.control.commands.vm import VmChanges, delete_vm, start_vm, stop_vm, update_vm_desired
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.reconcilers.operations import move_operations
from houyi.control.reconcilers.placement import place_vms
from houyi.control.workflows.migrate_vm import move_vms
from houyi.model.errors import Conflict, HouyiError, Invalid, NoCapacity, NotFound, Problem, Stale
from houyi.model.host import HostFacts
from houyi.model.ids import HostId
from houyi.model.migration import End, Figures, Landing, Migration, MigrationKind, MigrationState, ObservedMove, Order, Presence
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import MigrationPolicy, Vm, VmState
from houyi.store.claims import claimed_on
from houyi.store.rows.host import put_host_facts, set_host_connected
from houyi.store.rows.migration import put_observed_move
from houyi.store.rows.vm import put_observed
from houyi.store.views.event import list_events
from houyi.store.views.host import desired_of
from houyi.store.views.migration import get_migration, open_migrations
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import an_observation, facts, put_host

LANDING = Landing(address="10.0.0.2", port=7483, tls_name="b", domain_xml="<domain/>")
S, P, O = MigrationState, Presence, Order  # noqa: E741 - columns


@dataclass
class Scene:
    desk: Desk
    vm: Vm
    other: HostId

    async def move(self, **ask: object) -> tuple[Migration, Operation]:
        return await migrate_vm(self.desk.control, self.desk.admin, self.vm.desired.name, MigrationAsk(**ask))  # type: ignore[arg-type]

    async def look(self, one: Migration) -> Migration:
        return await self.desk.store.read(lambda c: get_migration(c, one.id, None))

    async def turn(self, one: Migration) -> Migration:
        await move_vms(self.desk.control)
        return await self.look(one)

    async def says(self, one: Migration, end: End, presence: Presence, order: Order, **more: object) -> None:
        seen = ObservedMove(id=one.id, end=end, presence=presence, order=order, **more)  # type: ignore[arg-type]
        host = one.source_id if end is End.SOURCE else one.destination_id
        await self.desk.store.apply([put_observed_move(one, host, seen)])

    async def on_its_way(self, **ask: object) -> tuple[Migration, Operation]:
        one, operation = await self.move(**ask)
        await self.turn(one)
        await self.says(one, End.SOURCE, P.LIVE, O.STAND_BY)
        await self.says(one, End.DESTINATION, P.NONE, O.PREPARE, ready=True, landing=LANDING)
        one = await self.turn(one)
        assert one.course.state is S.MOVING
        return one, operation

    async def operation(self, operation: Operation) -> Operation:
        return await self.desk.store.read(lambda c: get_operation(c, operation.id, None))

    async def now(self) -> Vm:
        return await self.desk.store.read(lambda c: get_vm(c, self.vm.desired.id, None))

    async def observed(self, state: VmState, **values: object) -> None:
        vm = await self.now()
        assert vm.host_id is not None
        await self.desk.store.apply([put_observed(vm.host_id, vm.desired.project_id, an_observation(vm.desired, state, accelerator="qemu", **values))])

    async def told(self) -> list[str]:
        page = await self.desk.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=self.vm.desired.id))
        return [event.kind for event in sorted(page.items, key=lambda event: event.revision)]

    async def claims(self) -> list[dict[str, int]]:
        return [await self.desk.store.read(lambda c, host=host: claimed_on(c, host)) for host in (self.desk.host_id, self.other)]


async def scene(desk: Desk, **ask: object) -> Scene:
    """A VM that runs on the desk's host, and a second host."""
    vm, _ = await create_vm(desk.control, desk.me, VmAsk(name="web", image="tiny", vcpus=1, memory_mib=1024, disk_gib=1, **ask))  # type: ignore[arg-type]
    await place_vms(desk.control)
    found = Scene(desk, vm, await put_host(desk.store, "h2", at=desk.clock.now()))
    await found.observed(VmState.RUNNING)
    return found


@pytest.fixture
async def here(desk: Desk) -> Scene:
    return await scene(desk)


async def test_a_move_whole(both: Desk) -> None:
    here = await scene(both)
    one, operation = await here.on_its_way()
    held = await here.now()
    assert (held.migration_id, held.host_id, held.desired.epoch) == (one.id, both.host_id, 1)
    (told,) = (await both.store.read(lambda c: desired_of(c, both.host_id))).moves
    assert (told.order, told.landing) == (O.MOVE, LANDING)
    claims = await here.claims()
    assert claims[0] == claims[1]
    await here.says(one, End.SOURCE, P.SENDING, O.MOVE, progress=0.5, stage="sending memory")
    await here.turn(one)
    going = await here.operation(operation)
    assert (going.state, going.stage, going.progress) == (OperationState.RUNNING, "sending memory", 0.57)
    await here.says(one, End.SOURCE, P.NONE, O.MOVE, over=True, figures=Figures(elapsed_seconds=4.0, memory_sent_mib=100.0, downtime_ms=60.0, rounds=3))
    await here.says(one, End.DESTINATION, P.LIVE, O.PREPARE, went=True, gap_ms=70.0)
    one = await here.turn(one)
    assert (one.course.state, one.course.outcome.gap_ms, one.course.outcome.rounds) == (S.FINISHING, 70.0, 3)  # type: ignore[union-attr]
    there = await here.now()
    assert (there.host_id, there.desired.epoch, there.desired.generation, there.migration_id) == (here.other, 2, 1, None)
    assert await here.claims() == [{}, claims[0]]
    await here.says(one, End.DESTINATION, P.LIVE, O.TAKE, went=True)
    await here.turn(one)
    assert (await here.operation(operation)).state is OperationState.DONE
    await here.says(one, End.SOURCE, P.NONE, O.CLEAN, clean=True)
    assert (await here.turn(one)).course.state is S.DONE
    assert await both.store.read(open_migrations) == []
    assert (await both.store.read(lambda c: desired_of(c, both.host_id))).moves == ()
    assert [kind for kind in await here.told() if "migrat" in kind] == ["vm.migrate", "vm.migration_started", "vm.migrated"]


async def test_each_turn_may_be_taken_twice_and_by_two_servers(both: Desk) -> None:
    here = await scene(both)
    one, _ = await here.on_its_way()
    await here.says(one, End.SOURCE, P.NONE, O.MOVE, over=True)
    await asyncio.gather(*(move_vms(both.control) for _ in range(4)))
    found = await here.look(one)
    assert found.course.state is S.FINISHING
    assert (await here.now()).desired.epoch == 2
    assert (await here.told()).count("vm.migrated") == 1
    await move_vms(both.control)
    assert (await here.look(one)).revision == found.revision


class TestAbort:
    async def test_failed_at_the_source(self, here: Scene) -> None:
        one, operation = await here.on_its_way()
        await here.says(one, End.SOURCE, P.LIVE, O.MOVE, over=True, error=Problem("migration_diverges", "too busy"))
        one = await here.turn(one)
        assert one.course.orders == {End.SOURCE: O.RELEASE, End.DESTINATION: O.WITHDRAW}
        assert (await here.now()).migration_id is None
        await here.says(one, End.SOURCE, P.LIVE, O.RELEASE, over=True)
        await here.turn(one)
        ended = await here.operation(operation)
        assert (ended.state, ended.error.code) == (OperationState.FAILED, "migration_diverges")  # type: ignore[union-attr]
        assert (await here.claims())[1] != {}
        await here.says(one, End.DESTINATION, P.NONE, O.WITHDRAW, clean=True)
        assert (await here.turn(one)).course.state is S.FAILED
        assert (await here.claims())[1] == {}
        assert (await here.now()).host_id == here.desk.host_id

    async def test_again_after_it_with_an_epoch_that_was_never_used(self, here: Scene) -> None:
        await self.test_failed_at_the_source(here)
        again, _ = await here.move()
        assert again.epoch == 3

    @pytest.mark.parametrize("by", ["migration", "operation"])
    async def test_cancelled(self, here: Scene, by: str) -> None:
        one, operation = await here.on_its_way()
        if by == "migration":
            await cancel_migration(here.desk.control, here.desk.admin, one.id)
            await cancel_migration(here.desk.control, here.desk.admin, one.id)
        else:
            await cancel_operation(here.desk.control, here.desk.admin, operation.id)
        assert (await here.turn(one)).course.orders[End.SOURCE] is O.CANCEL
        await here.says(one, End.SOURCE, P.LIVE, O.CANCEL, over=True)
        await here.turn(one)
        await here.says(one, End.SOURCE, P.LIVE, O.RELEASE, over=True)
        await here.says(one, End.DESTINATION, P.NONE, O.WITHDRAW, clean=True)
        assert (await here.turn(one)).course.state is S.CANCELLED
        assert (await here.operation(operation)).state is OperationState.CANCELLED

    async def test_cancelled_before_its_turn(self, here: Scene) -> None:
        one, operation = await here.move()
        await cancel_migration(here.desk.control, here.desk.admin, one.id)
        assert (await here.turn(one)).course.state is S.CANCELLED
        assert (await here.operation(operation)).state is OperationState.CANCELLED
        assert (await here.claims())[1] == {}

    async def test_too_late(self, here: Scene) -> None:
        one, _ = await here.on_its_way()
        await here.says(one, End.SOURCE, P.NONE, O.MOVE, over=True)
        await here.turn(one)
        with pytest.raises(Conflict) as refused:
            await cancel_migration(here.desk.control, here.desk.admin, one.id)
        assert refused.value.code == "migration_settled"


class TestUnknown:
    async def test_it_waits_for_evidence_and_says_for_what(self, here: Scene) -> None:
        one, operation = await here.on_its_way()
        await here.says(one, End.SOURCE, P.SENDING, O.MOVE)
        await here.desk.store.apply([set_host_connected(one.source_id, False, None)])
        found = await here.turn(one)
        assert found.course.state is S.UNKNOWN
        assert "source host is not heard of" in (await here.operation(operation)).blocked_on
        await here.desk.store.apply([set_host_connected(one.source_id, True, 1.0)])
        assert (await here.turn(one)).course.state is S.MOVING
        assert [kind for kind in await here.told() if "known" in kind] == ["vm.migration_unknown", "vm.migration_known"]

    async def test_a_vm_that_was_deleted_at_its_new_home_is_still_cleaned_up_after(self, here: Scene) -> None:
        one, _ = await here.on_its_way()
        await here.says(one, End.SOURCE, P.NONE, O.MOVE, over=True)
        await here.turn(one)
        await delete_vm(here.desk.control, here.desk.admin, "web")
        (told,) = (await here.desk.store.read(lambda c: desired_of(c, here.desk.host_id))).moves
        assert told.order is O.CLEAN


class TestHeld:
    async def test_no_verb_while_it_is_on_its_way(self, here: Scene) -> None:
        await here.on_its_way()
        control, ctx = here.desk.control, here.desk.admin
        for verb in (
            stop_vm(control, ctx, "web"),
            start_vm(control, ctx, "web"),
            delete_vm(control, ctx, "web"),
            update_vm_desired(control, ctx, "web", VmChanges(name="x")),
        ):
            with pytest.raises(Conflict) as refused:
                await verb
            assert refused.value.code == "vm_migrating"

    async def test_its_operation_is_not_ended_by_the_vms_generation(self, here: Scene) -> None:
        _, operation = await here.on_its_way()
        await move_operations(here.desk.control)
        assert (await here.operation(operation)).state is OperationState.RUNNING


class TestRefused:
    async def refused(self, here: Scene, **ask: object) -> HouyiError:
        with pytest.raises(HouyiError) as caught:
            await here.move(**ask)
        assert await here.desk.store.read(open_migrations) == []
        return caught.value

    async def test_to_itself(self, here: Scene) -> None:
        assert (await self.refused(here, to="h1")).code == "same_host"

    async def test_to_nowhere(self, here: Scene) -> None:
        assert isinstance(await self.refused(here, to="no-such"), NotFound)

    async def test_to_a_cordoned_host_and_so_to_none(self, here: Scene) -> None:
        await update_host_desired(here.desk.control, here.desk.admin, "h2", cordoned=True)
        assert (await self.refused(here, to="h2")).code == "host_not_ready"
        assert isinstance(await self.refused(here), NoCapacity)

    async def test_without_room(self, here: Scene) -> None:
        await self.put_facts(here, here.other, facts(), {"vcpu": 4, "memory_mib": 600, "disk_gib": 100})
        assert isinstance(await self.refused(here, to="h2"), NoCapacity)

    async def test_from_an_emulator_that_corrupts(self, here: Scene) -> None:
        await self.put_facts(here, here.desk.host_id, replace(facts(), qemu_version="7.2.11"))
        plan = await plan_migration(here.desk.control, here.desk.me, "web", MigrationAsk())
        assert [one.code for one in plan.problems] == ["source_corrupts_memory"], "said before it is tried"
        assert (await self.refused(here)).code == "source_corrupts_memory"
        await here.observed(VmState.STOPPED)
        assert (await plan_migration(here.desk.control, here.desk.me, "web", MigrationAsk())).problems == [], "a stopped one has no memory to lose"

    async def test_what_must_not_move(self, here: Scene) -> None:
        await update_vm_desired(here.desk.control, here.desk.admin, "web", VmChanges(migration_policy=MigrationPolicy.NEVER))
        await here.observed(VmState.RUNNING)
        assert (await self.refused(here)).code == "migration_forbidden"

    async def test_a_state_in_which_nothing_can_move(self, here: Scene) -> None:
        await here.observed(VmState.STARTING)
        assert (await self.refused(here)).code == "vm_busy"

    async def test_a_downtime_out_of_range(self, here: Scene) -> None:
        assert isinstance(await self.refused(here, downtime_ms_max=5), Invalid)

    async def test_twice(self, here: Scene) -> None:
        await here.move()
        with pytest.raises(Conflict) as caught:
            await here.move()
        assert caught.value.code == "vm_migrating"

    async def test_anothers(self, here: Scene) -> None:
        with pytest.raises(NotFound):
            await migrate_vm(here.desk.control, here.desk.them, "web", MigrationAsk())

    async def put_facts(self, here: Scene, host: HostId, what: HostFacts, capacity: dict[str, int] | None = None) -> None:
        room = {"vcpu": 4, "memory_mib": 8192, "disk_gib": 100} if capacity is None else capacity
        await here.desk.store.apply([put_host_facts(host, "i2", what, room, here.desk.clock.now())])


async def test_a_stopped_vm_moves_cold(here: Scene) -> None:
    await stop_vm(here.desk.control, here.desk.admin, "web")
    await here.observed(VmState.STOPPED)
    one, _ = await here.move()
    assert one.spec.kind is MigrationKind.COLD


async def test_a_plan_writes_nothing_and_tells_everything_at_once(here: Scene) -> None:
    await here.observed(VmState.STARTING)
    before = here.desk.store.revision
    plan = await plan_migration(here.desk.control, here.desk.admin, "web", MigrationAsk(to="h1"))
    assert [one.code for one in plan.problems] == ["vm_busy", "same_host"]
    assert here.desk.store.revision == before


async def test_many_moves_at_once_never_oversubscribe_their_destination(both: Desk) -> None:
    """Three VMs of 1 GiB, a destination with room for two."""
    here = await scene(both)
    await both.store.apply([put_host_facts(here.other, "i2", facts(), {"vcpu": 4, "memory_mib": 4096, "disk_gib": 100}, both.clock.now())])
    for number in range(2):
        await create_vm(both.control, both.me, VmAsk(name=f"vm{number}", image="tiny", vcpus=1, memory_mib=1024, disk_gib=1))
    await update_host_desired(both.control, both.admin, "h2", cordoned=True)
    await place_vms(both.control)
    await update_host_desired(both.control, both.admin, "h2", cordoned=False)
    for name in ("vm0", "vm1"):
        vm = await both.store.read(lambda c, name=name: get_vm(c, name, None))
        await both.store.apply([put_observed(both.host_id, vm.desired.project_id, an_observation(vm.desired, VmState.RUNNING, accelerator="qemu"))])
    await both.store.apply([put_host_facts(here.other, "i3", facts(), {"vcpu": 4, "memory_mib": 512 + 2200, "disk_gib": 100}, both.clock.now())])
    asks = [migrate_vm(both.control, both.admin, name, MigrationAsk(to="h2")) for name in ("web", "vm0", "vm1")]
    results = await asyncio.gather(*asks, return_exceptions=True)
    lost = [one for one in results if isinstance(one, NoCapacity | Stale)]
    assert len(lost) == 1
    assert (await both.store.read(lambda c: claimed_on(c, here.other)))["memory_mib"] <= 2200


async def test_a_vm_keeps_its_size_until_it_has_moved(both: Desk) -> None:
    """Also while the move waits for its turn: at the destination the size that it had then is held."""
    here = await scene(both)
    one, _ = await here.move()
    before = await here.claims()
    with pytest.raises(Conflict) as refused:
        await update_vm_desired(both.control, both.admin, "web", VmChanges(memory_mib=4096))
    assert refused.value.code == "vm_migrating"
    await update_vm_desired(both.control, both.admin, "web", VmChanges(name="renamed"))
    assert await here.claims() == before
    await cancel_migration(both.control, both.admin, one.id)
    await here.turn(one)
    await update_vm_desired(both.control, both.admin, "renamed", VmChanges(memory_mib=4096))


class TestRemovedHost:
    """A host that will never be heard of again must not keep a VM from ever moving again."""

    async def test_the_source_after_the_commit(self, here: Scene) -> None:
        one, _ = await here.on_its_way()
        await here.says(one, End.SOURCE, P.NONE, O.MOVE, over=True)
        await here.turn(one)
        await here.says(one, End.DESTINATION, P.LIVE, O.TAKE, went=True)
        assert (await here.turn(one)).course.state is S.FINISHING
        with pytest.raises(Conflict, match="removing what is left of 1 VM"):
            await remove_host(here.desk.control, here.desk.admin, "h1")
        await here.desk.store.apply([set_host_connected(here.desk.host_id, False, None)])
        await remove_host(here.desk.control, here.desk.admin, "h1")
        assert (await here.turn(one)).course.state is S.DONE

    async def test_the_destination_that_was_to_withdraw(self, here: Scene) -> None:
        one, _ = await here.on_its_way()
        await here.says(one, End.SOURCE, P.LIVE, O.MOVE, over=True, error=Problem("migration_failed", "broke"))
        with pytest.raises(Conflict):
            await remove_host(here.desk.control, here.desk.admin, "h2")
        await here.turn(one)
        await here.says(one, End.SOURCE, P.LIVE, O.RELEASE, over=True)
        await here.desk.store.apply([set_host_connected(here.other, False, None)])
        await remove_host(here.desk.control, here.desk.admin, "h2")
        assert (await here.turn(one)).course.state is S.FAILED
        assert (await here.now()).host_id == here.desk.host_id

    async def test_a_failure_stays_one_though_it_was_cancelled_then(self, here: Scene) -> None:
        one, _ = await here.on_its_way()
        await here.says(one, End.SOURCE, P.LIVE, O.MOVE, over=True, error=Problem("migration_failed", "broke"))
        await here.turn(one)
        await cancel_migration(here.desk.control, here.desk.admin, one.id)
        await here.says(one, End.SOURCE, P.LIVE, O.RELEASE, over=True)
        await here.says(one, End.DESTINATION, P.NONE, O.WITHDRAW, clean=True)
        assert (await here.turn(one)).course.state is S.FAILED
