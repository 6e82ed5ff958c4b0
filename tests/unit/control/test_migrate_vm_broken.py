"""The workflow of moves, broken off before and after each of its writes, and overtaken by another server at each: it comes to the same.

Both ends are played by the book from what the server tells them (`desired_of`) and through the intake, and they know where the guest really is: being told
to destroy it there, or to run it elsewhere, fails the test. What the records say is checked after every turn.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import count
from typing import TypeVar

import pytest

from desk import Desk
from houyi.control.commands.migration import MigrationAsk, cancel_migration, migrate_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.vm import take_report
from houyi.control.reconcilers.placement import place_vms
from houyi.control.workflows.migrate_vm import move_vms
from houyi.model.errors import Problem, Unavailable
from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.migration import DesiredMove, End, Landing, Migration, MigrationState, ObservedMove, Order, Presence
from houyi.model.operation import OperationState
from houyi.model.vm import ObservedVm, Vm, VmState
from houyi.store.claims import claimed_by
from houyi.store.mutation import Mutation, Precondition
from houyi.store.store import Store, View
from houyi.store.views.event import list_events
from houyi.store.views.host import desired_of
from houyi.store.views.migration import get_migration
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import load, put_host

T = TypeVar("T")
TURNS_MAX = 40


class Crash(Exception):
    """The server is gone, in the middle of what it did."""


class Interrupted(Store):
    """Another's store, whose next writes are counted and at one of them something happens."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.writes = 0
        self.before: dict[int, Callable[[], Awaitable[None]]] = {}
        self.after: dict[int, Callable[[], Awaitable[None]]] = {}

    async def read(self, view: View[T]) -> T:
        return await self._inner.read(view)

    async def apply(self, mutations: Sequence[Mutation], preconditions: Sequence[Precondition] = ()) -> int:
        number = self.writes
        self.writes += 1
        if number in self.before:
            await self.before[number]()
        revision = await self._inner.apply(mutations, preconditions)
        if number in self.after:
            await self.after[number]()
        return revision


class Story(StrEnum):
    ARRIVES = "arrives"
    FAILS = "fails"
    """The attempt ends at the source."""
    CANCELLED = "cancelled"
    """While the guest is being sent."""


@dataclass
class Ends:
    """Two hosts with one guest."""

    desk: Desk
    vm_id: VmId
    story: Story
    guest_at: HostId
    serials: "count[int]"
    sending: int = 0
    over: bool = False

    async def play(self, one: Migration) -> None:
        """What each end is told, done and testified."""
        for host_id in (one.source_id, one.destination_id):
            desired = await self.desk.store.read(lambda c, host_id=host_id: desired_of(c, host_id))
            seen = [self.does(host_id, move) for move in desired.moves]
            await self.tell(host_id, [self.observes(vm.epoch) for vm in desired.vms if host_id == self.guest_at], seen)

    async def tell(self, host_id: HostId, vms: Sequence[ObservedVm], moves: Sequence[ObservedMove] = ()) -> None:
        assert await take_report(self.desk.control, host_id, "i1", next(self.serials), load(), vms, (), (), moves)

    def observes(self, epoch: int) -> ObservedVm:
        return ObservedVm(id=self.vm_id, epoch=epoch, generation=1, state=VmState.RUNNING, accelerator="qemu")

    def does(self, host_id: HostId, move: DesiredMove) -> ObservedMove:
        def seen(presence: Presence, **more: object) -> ObservedMove:
            return ObservedMove(id=move.id, end=move.end, presence=presence, order=move.order, **more)  # type: ignore[arg-type]

        here = host_id == self.guest_at
        match move.order:
            case Order.PREPARE:
                return seen(Presence.LIVE, went=True) if here else seen(Presence.NONE, ready=True, landing=Landing(address="d", port=1, tls_name="d"))
            case Order.STAND_BY:
                return seen(Presence.LIVE)
            case Order.MOVE | Order.CANCEL:
                return self._sends(move, seen)
            case Order.TAKE:
                assert here, "told to run what never arrived"
                return seen(Presence.LIVE, went=True)
            case Order.CLEAN:
                assert not here, "told to destroy the guest"
                return seen(Presence.NONE, clean=True)
            case Order.RELEASE:
                assert here, "told to run what has gone"
                return seen(Presence.LIVE, over=True)
            case _:
                assert not here, "told to destroy the guest"
                return seen(Presence.NONE, clean=True)

    def _sends(self, move: DesiredMove, seen: Callable[..., ObservedMove]) -> ObservedMove:
        if self.over:
            return seen(Presence.NONE, over=True) if self.guest_at == move.peer else seen(Presence.LIVE, over=True, error=Problem("migration_failed", "no"))
        self.sending += 1
        if move.order is Order.MOVE and (self.sending < 3 or self.story is Story.CANCELLED):
            return seen(Presence.SENDING, busy=True)
        self.over = True
        if move.order is Order.MOVE and self.story is Story.ARRIVES:
            assert move.landing is not None
            self.guest_at = move.peer
        return self._sends(move, seen)


@dataclass
class Scene:
    desk: Desk
    vm: Vm
    serial: int = 0
    """Of the last report that was made up."""

    async def now(self) -> Vm:
        return await self.desk.store.read(lambda c: get_vm(c, self.vm.desired.id, None))

    async def look(self, migration_id: MigrationId) -> Migration:
        return await self.desk.store.read(lambda c: get_migration(c, migration_id, None))

    async def told(self, kind: str, migration_id: MigrationId) -> int:
        page = await self.desk.store.read(lambda c: list_events(c, None, EVERYTHING, kind=kind))
        return sum(event.data.get("migration") == migration_id for event in page.items)

    async def run(self, story: Story, server: Interrupted) -> Ends:
        """One whole move by one server, which is begun anew when it crashes."""
        vm = await self.now()
        assert vm.host_id is not None
        ends = Ends(self.desk, vm.desired.id, story, vm.host_id, count(self.serial + 1))
        broken = replace(self.desk.control, store=server)
        await ends.tell(vm.host_id, [ends.observes(vm.desired.epoch)])
        one, operation = await migrate_vm(self.desk.control, self.desk.admin, vm.desired.id, MigrationAsk())
        for _ in range(TURNS_MAX):
            with suppress(Crash):
                await move_vms(broken)
            one = await self._checked(one.id, ends)
            if one.course.state in (MigrationState.DONE, MigrationState.FAILED, MigrationState.CANCELLED):
                break
            await ends.play(one)
            if story is Story.CANCELLED and ends.sending == 2:
                await cancel_migration(self.desk.control, self.desk.admin, one.id)
        await move_vms(self.desk.control)
        await self._ended(one, ends, (await self.desk.store.read(lambda c: get_operation(c, operation.id, None))).state)
        self.serial = next(ends.serials)
        return ends

    async def _checked(self, migration_id: MigrationId, ends: Ends) -> Migration:
        """Whatever happened: one home, at the VM's own epoch; room where it lands as long as it may land."""
        one, vm = await self.look(migration_id), await self.now()
        home = await self.desk.store.read(lambda c: claimed_by(c, vm.desired.id))
        landing = await self.desk.store.read(lambda c: claimed_by(c, migration_id))
        assert home
        settled = one.course.state in (MigrationState.FINISHING, MigrationState.DONE)
        ended = one.course.state in (MigrationState.FAILED, MigrationState.CANCELLED)
        assert (landing == {}) is (settled or ended), one.course.state
        assert (vm.host_id == one.destination_id) is settled
        assert (vm.desired.epoch == one.epoch) is settled
        if settled or ended:
            assert vm.host_id == ends.guest_at
        return one

    async def _ended(self, one: Migration, ends: Ends, operation: OperationState) -> None:
        state = {Story.ARRIVES: MigrationState.DONE, Story.FAILS: MigrationState.FAILED, Story.CANCELLED: MigrationState.CANCELLED}[ends.story]
        assert (one.course.state, operation.value) == (state, state.value), one.course.why
        arrived = ends.story is Story.ARRIVES
        assert (await self.told("vm.migrated", one.id), await self.told("vm.migration_failed", one.id)) == (int(arrived), int(not arrived))
        assert await self.told("vm.migration_started", one.id) == 1
        for host_id in (one.source_id, one.destination_id):
            desired = await self.desk.store.read(lambda c, host_id=host_id: desired_of(c, host_id))
            assert desired.moves == ()
            assert [vm.id for vm in desired.vms] == ([one.vm_id] if host_id == ends.guest_at else [])


async def scene(desk: Desk) -> Scene:
    vm, _ = await create_vm(desk.control, desk.me, VmAsk(name="web", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    await put_host(desk.store, "h2", at=desk.clock.now())
    return Scene(desk, vm)


async def _crash() -> None:
    raise Crash


async def _away() -> None:
    raise Unavailable("store_unreachable", "it is away: try again")


@pytest.mark.parametrize("story", Story)
async def test_broken_off_at_each_write(desk: Desk, story: Story) -> None:
    """By a crash before it, by a crash after it, and by a store that is away for a moment."""
    there = await scene(desk)
    whole = Interrupted(desk.store)
    await there.run(story, whole)
    assert whole.writes >= 4, "its turns are written one by one"
    for number in range(whole.writes):
        for before, after in (({number: _crash}, {}), ({}, {number: _crash}), ({number: _away}, {})):
            server = Interrupted(desk.store)
            server.before, server.after = before, after
            await there.run(story, server)
            assert server.writes > number, "it was broken off"


@pytest.mark.parametrize("story", Story)
async def test_overtaken_at_each_write(both: Desk, story: Story) -> None:
    """Another server takes the same turn, and the ends act on it, before this one writes what it had decided."""
    there = await scene(both)
    whole = Interrupted(both.store)
    await there.run(story, whole)
    for number in range(whole.writes):
        server = Interrupted(both.store)

        server.before = {number: partial(move_vms, both.control)}
        await there.run(story, server)


async def test_the_ends_notice_what_must_not_be(desk: Desk) -> None:
    """The players themselves: told to destroy the only guest, or to run it where it never was, they fail the test."""
    there = await scene(desk)
    vm = await there.now()
    assert vm.host_id is not None
    ends = Ends(desk, vm.desired.id, Story.ARRIVES, vm.host_id, count(1))
    await ends.tell(vm.host_id, [ends.observes(vm.desired.epoch)])
    one, _ = await migrate_vm(desk.control, desk.admin, "web", MigrationAsk())
    for order, host_id in ((Order.CLEAN, one.source_id), (Order.TAKE, one.destination_id), (Order.WITHDRAW, one.source_id)):
        end = End.SOURCE if host_id == one.source_id else End.DESTINATION
        with pytest.raises(AssertionError, match="told to"):
            ends.does(host_id, DesiredMove(id=one.id, vm=vm.desired, end=end, order=order, kind=one.spec.kind, peer=one.source_id, terms=one.spec.terms))
