"""Goals: one pass does what can be done, the next one the rest; two servers never harm each other; no failure stops them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from desk import Desk, make_desk
from houyi.base.config import ServerSettings
from houyi.base.ids import SeededIds
from houyi.control.commands.host import update_host_desired
from houyi.control.commands.vm import delete_vm, stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.control import Control
from houyi.control.intake.vm import take_report
from houyi.control.reconcilers.all import RECONCILERS
from houyi.control.reconcilers.housekeeping import keep_house
from houyi.control.reconcilers.operations import move_operations
from houyi.control.reconcilers.placement import place_vms
from houyi.control.reconcilers.runner import Reconciler, run_forever
from houyi.model.errors import Conflict, NotFound, Problem, Stale, Unavailable
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import Vm, VmState
from houyi.store.changes import changes_since
from houyi.store.claims import claimed_on
from houyi.store.rows.idempotency import remember
from houyi.store.store import Store
from houyi.store.views.event import list_events
from houyi.store.views.idempotency import find_answer
from houyi.store.views.operation import get_operation, list_operations
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import all_vms, get_vm
from made import MINE, an_observation, load, put_host
from stores import NewUrl


async def create(desk: Desk, name: str = "hello", *, vcpus: int = 1, memory_mib: int = 1024) -> tuple[Vm, Operation]:
    return await create_vm(desk.control, desk.me, VmAsk(name=name, image="tiny", vcpus=vcpus, memory_mib=memory_mib))


async def look(desk: Desk, name: str = "hello") -> Vm:
    return await desk.store.read(lambda c: get_vm(c, name, None))


async def state_of(desk: Desk, operation: Operation) -> Operation:
    return await desk.store.read(lambda c: get_operation(c, operation.id, None))


# Placement


async def test_vms_are_placed_oldest_first_while_there_is_room(desk: Desk) -> None:
    """Seven VMs were let in at once, before any was placed; the host has four CPUs."""
    for number in range(7):
        await create(desk, f"vm{number}")
        desk.clock.at += 1.0
    await place_vms(desk.control)
    assert [(await look(desk, f"vm{number}")).host_id for number in range(7)] == [desk.host_id] * 4 + [None] * 3
    assert (await desk.store.read(lambda c: claimed_on(c, desk.host_id)))["vcpu"] == 4
    placed = (await desk.store.read(lambda c: list_events(c, MINE, EVERYTHING, kind="vm.placed"))).items
    assert {(event.target_name, event.actor) for event in placed} == {(f"vm{number}", "platform") for number in range(4)}
    revision = desk.store.revision
    await place_vms(desk.control)
    assert desk.store.revision == revision, "a pass that can do nothing writes nothing"
    await put_host(desk.store, "h2", at=desk.clock.now())
    await place_vms(desk.control)
    assert all([(await look(desk, f"vm{number}")).host_id is not None for number in range(7)])


async def test_a_large_vm_does_not_stop_smaller_ones(desk: Desk) -> None:
    for name, vcpus in (("a", 3), ("b", 3), ("c", 1)):
        await create(desk, name, vcpus=vcpus)
        desk.clock.at += 1.0
    await place_vms(desk.control)
    assert [(await look(desk, name)).host_id is not None for name in "abc"] == [True, False, True]


async def test_nothing_is_placed_on_a_cordoned_host(desk: Desk) -> None:
    await create(desk)
    await update_host_desired(desk.control, desk.admin, "h1", cordoned=True)
    await place_vms(desk.control)
    assert (await look(desk)).host_id is None
    await update_host_desired(desk.control, desk.admin, "h1", cordoned=False)
    await place_vms(desk.control)
    assert (await look(desk)).host_id == desk.host_id


async def test_what_is_deleted_before_it_had_a_host_just_goes(desk: Desk) -> None:
    vm, creation = await create(desk)
    deletion = await delete_vm(desk.control, desk.me, "hello")
    await place_vms(desk.control)
    with pytest.raises(NotFound):
        await look(desk, vm.desired.id)
    await move_operations(desk.control)
    assert (await state_of(desk, deletion)).state is OperationState.DONE
    failed = await state_of(desk, creation)
    assert (failed.state, failed.error and failed.error.code) == (OperationState.FAILED, "vm_deleted")


@pytest.fixture
async def two(new_url: NewUrl, tmp_path: Path) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two servers on one PostgreSQL."""
    url = new_url("postgres")
    first, second = await Store.open(url), await Store.open(url)
    desk = await make_desk(first, tmp_path)
    yield desk, replace(desk, control=Control(second, desk.clock, SeededIds(2), desk.control.settings))
    await first.close()
    await second.close()


async def test_two_servers_that_place_at_once_never_oversubscribe(two: tuple[Desk, Desk]) -> None:
    desk, other = two
    hosts = [desk.host_id, await put_host(desk.store, "h2", at=1000.0)]
    vms = [await create(desk, f"vm{number}") for number in range(12)]
    await asyncio.gather(*(place_vms(each.control) for _ in range(3) for each in two))
    await place_vms(other.control)
    assert [(await desk.store.read(lambda c, host_id=host_id: claimed_on(c, host_id)))["vcpu"] for host_id in hosts] == [4, 4]  # type: ignore[misc]
    placed = [vm for vm in await other.store.read(all_vms) if vm.host_id is not None]
    assert (len(placed), {vm.desired.epoch for vm in placed}, len(vms)) == (8, {1}, 12)
    events = (await desk.store.read(lambda c: list_events(c, MINE, EVERYTHING, kind="vm.placed"))).items
    assert sorted(event.target_id for event in events) == sorted(vm.desired.id for vm in placed), "each was placed once"


# Operations


async def test_an_operation_follows_its_vm(desk: Desk) -> None:
    vm, operation = await create(desk)
    await move_operations(desk.control)
    assert (await state_of(desk, operation)).stage == "choosing a host"
    await place_vms(desk.control)
    await move_operations(desk.control)
    assert ((await state_of(desk, operation)).state, (await state_of(desk, operation)).stage) == (OperationState.RUNNING, "given to the host")
    desired = (await look(desk)).desired
    seen = an_observation(desired, VmState.PREPARING, generation=0, stage="fetching image", progress=0.5)
    await take_report(desk.control, desk.host_id, "i1", 1, load(), [seen], [], [])
    await move_operations(desk.control)
    half = await state_of(desk, operation)
    assert (half.stage, round(half.progress, 3), half.ended_at) == ("fetching image", 0.525, 0.0)
    await take_report(desk.control, desk.host_id, "i1", 2, load(), [replace(seen, stage="creating disk", progress=0.1)], [], [])
    await move_operations(desk.control)
    assert (await state_of(desk, operation)).progress == half.progress, "progress never goes back"
    desk.clock.at += 5.0
    await take_report(desk.control, desk.host_id, "i1", 3, load(), [an_observation(desired)], [], [])
    await move_operations(desk.control)
    done = await state_of(desk, operation)
    assert (done.state, done.progress, done.stage, done.blocked_on, done.ended_at) == (OperationState.DONE, 1.0, "done", "", 1005.0)
    revision = desk.store.revision
    await move_operations(desk.control)
    assert desk.store.revision == revision
    assert vm.desired.id == done.target_id


async def test_what_it_waits_for_is_said(desk: Desk) -> None:
    _, operation = await create(desk, vcpus=3)
    _, late = await create(desk, "late", vcpus=3)
    await place_vms(desk.control)
    await move_operations(desk.control)
    assert (await state_of(desk, operation)).blocked_on == ""
    waiting = await state_of(desk, late)
    assert (waiting.state, waiting.stage, waiting.blocked_on) == (OperationState.QUEUED, "waiting for a host", "no capacity: 1 host: not enough left")


async def test_a_failure_on_the_host_is_the_operations(desk: Desk) -> None:
    _, operation = await create(desk)
    await place_vms(desk.control)
    broken = Problem("disk_full", "the disk is full: make room")
    seen = an_observation((await look(desk)).desired, VmState.FAILED, error=broken, error_generation=1)
    await take_report(desk.control, desk.host_id, "i1", 1, load(), [seen], [], [])
    await move_operations(desk.control)
    failed = await state_of(desk, operation)
    assert (failed.state, failed.error, failed.ended_at) == (OperationState.FAILED, broken, 1000.0)


async def test_an_operation_that_was_overtaken_ends_with_the_later_one(desk: Desk) -> None:
    _, creation = await create(desk)
    await place_vms(desk.control)
    stop = await stop_vm(desk.control, desk.me, "hello")
    await take_report(desk.control, desk.host_id, "i1", 1, load(), [an_observation((await look(desk)).desired, VmState.STOPPED)], [], [])
    await move_operations(desk.control)
    assert [(await state_of(desk, one)).state for one in (creation, stop)] == [OperationState.DONE] * 2


async def test_servers_that_move_operations_at_once(both: Desk) -> None:
    operations = [(await create(both, f"vm{number}", memory_mib=256))[1] for number in range(4)]
    await place_vms(both.control)
    seen = [an_observation(vm.desired) for vm in await both.store.read(all_vms)]
    await take_report(both.control, both.host_id, "i1", 1, load(), seen, [], [])
    await asyncio.gather(*(move_operations(both.control) for _ in range(4)))
    assert [(await state_of(both, one)).state for one in operations] == [OperationState.DONE] * 4
    told = await both.store.read(lambda c: changes_since(c, 0, ("operation",), None))
    assert len(told) == 8, "each was written at its creation and at its end, and by one"


# Housekeeping


async def test_old_things_go(desk: Desk) -> None:
    server = ServerSettings(changes_kept=5, events_kept_days=1.0, idempotency_hours=1.0)
    control = replace(desk.control, settings=desk.control.settings.model_copy(update={"server": server}))
    _, operation = await create(desk)
    await place_vms(desk.control)
    await take_report(desk.control, desk.host_id, "i1", 1, load(), [an_observation((await look(desk)).desired)], [], [])
    await move_operations(desk.control)
    _, still_open = await create(desk, "late")
    await desk.store.apply([remember("s", "k", "d", lambda _: (200, ""), desk.clock.now())])
    desk.clock.at += 3500.0
    await keep_house(control)
    assert await desk.store.read(lambda c: find_answer(c, "s", "k")) is not None
    assert (await state_of(desk, operation)).state is OperationState.DONE
    with pytest.raises(Stale):
        await desk.store.read(lambda c: changes_since(c, desk.store.revision - 6, ("vm",), None))
    desk.clock.at += 200.0
    await keep_house(control)
    assert await desk.store.read(lambda c: find_answer(c, "s", "k")) is None
    desk.clock.at += 86400.0
    await keep_house(control)
    assert (await desk.store.read(lambda c: list_events(c, None, EVERYTHING))).items == ()
    assert [one.id for one in (await desk.store.read(lambda c: list_operations(c, None, EVERYTHING))).items] == [still_open.id], "what is open stays"
    assert len(await desk.store.read(all_vms)) == 2


# The runner


class Counted:
    """A reconciler that counts its passes, and waits for them."""

    def __init__(self, name: str, *, error: Exception | None = None, periods: float = 1.0) -> None:
        self.passes = 0
        self._error = error
        self._news = asyncio.Event()
        self.reconciler = Reconciler(name, self._run, periods)

    async def _run(self, _control: Control) -> None:
        self.passes += 1
        self._news.set()
        if self._error is not None:
            raise self._error

    async def more(self, passes: int) -> None:
        """Until it has run that many times more."""
        wanted = self.passes + passes
        async with asyncio.timeout(60):
            while self.passes < wanted:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(control: Control, reconciler: Reconciler, holder: str) -> AsyncIterator[None]:
    task = asyncio.create_task(run_forever(control, reconciler, holder))
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_server_at_a_time_runs_a_reconciler(desk: Desk) -> None:
    a, b = Counted("shared"), Counted("shared")
    async with running(desk.control, a.reconciler, "a"):
        await a.more(1)
        async with running(desk.control, b.reconciler, "b"):
            await a.more(5)
            assert b.passes == 0
    async with running(desk.control, b.reconciler, "b"):
        await asyncio.sleep(0.2)
        assert b.passes == 0, "the lease of the one that died has not run out"
        desk.clock.at += 1.0
        await b.more(2)


@pytest.mark.parametrize("error", [Unavailable("store_unreachable", "x"), Conflict("name_taken", "x"), KeyError("a bug")])
async def test_no_failure_stops_it(desk: Desk, error: Exception) -> None:
    broken = Counted("broken", error=error)
    async with running(desk.control, broken.reconciler, "a"):
        await broken.more(3)


async def test_a_hint_makes_it_sooner(desk: Desk) -> None:
    slow = Counted("slow", periods=1_000_000)
    async with running(desk.control, slow.reconciler, "a"):
        await slow.more(1)
        desk.control.hints.poke("slow")
        await slow.more(1)


async def test_all_reconcilers_together_bring_a_vm_up(desk: Desk) -> None:
    """Nobody calls anybody: a wish, a report, and the reconcilers on their own."""
    tasks = [asyncio.create_task(run_forever(desk.control, each, "a")) for each in RECONCILERS]
    _, operation = await create(desk)
    async with asyncio.timeout(20):
        revision = 0
        while (vm := await look(desk)).host_id is None:
            revision = await desk.store.wait(revision, 5.0)
        await take_report(desk.control, desk.host_id, "i1", 1, load(), [an_observation(vm.desired)], [], [])
        while (await state_of(desk, operation)).state is not OperationState.DONE:
            revision = await desk.store.wait(revision, 5.0)
    for task in tasks:
        task.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*tasks, return_exceptions=True))
