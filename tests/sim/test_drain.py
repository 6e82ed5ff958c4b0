"""A host of three is drained, and things break meanwhile. No guest stops or runs twice, what was written on a stopped one's disk arrives, and the drain
goes on by what is in the store alone, until the host is empty or somebody ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from houyi.control.commands.host import drain_host, plan_host_drain, update_host_desired
from houyi.control.commands.vm import delete_vm, stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.host.sim.net import Phase
from houyi.model.host import HostState, effective_host
from houyi.model.ids import VmId
from houyi.model.migration import ENDED, Migration, MigrationKind, MigrationState
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import EffectiveState, RestartPolicy, StopMode, Vm, effective
from houyi.store.tables import claim
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host
from houyi.store.views.migration import list_migrations
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from sim.faults import kill_guest
from sim.virtual import VirtualLoop
from sim.world import Build, Machine, World

pytestmark = pytest.mark.usefixtures("quiet")

SECONDS = 600.0
"""Of a drain that something broke, retries included."""
RUNNING = ("a", "b", "c", "d")


class Ward:
    """Three hosts; all VMs are on the first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def host(self) -> Machine:
        return self.world.machines["host-0"]

    async def cordon(self, cordoned: bool, *names: str) -> None:
        for name in names:
            await update_host_desired(self.world.control, self.world.ctx, name, cordoned=cordoned)

    async def create(self, name: str, memory_mib: int = 128) -> VmId:
        ask = VmAsk(name=name, image="disk", vcpus=1, memory_mib=memory_mib, disk_gib=1, restart_policy=RestartPolicy.ALWAYS)
        vm, _ = await create_vm(self.world.control, self.world.ctx, ask)
        await self.until_vm(name, EffectiveState.RUNNING)
        return vm.desired.id

    async def fill(self) -> None:
        """Four that run, one that is stopped."""
        await self.cordon(True, "host-1", "host-2")
        for name in (*RUNNING, "still"):
            await self.create(name)
        await stop_vm(self.world.control, self.world.ctx, "still", mode=StopMode.FORCE)
        await self.until_vm("still", EffectiveState.STOPPED)
        await self.cordon(False, "host-1", "host-2")

    async def vms(self) -> dict[str, Vm]:
        return {vm.desired.name: vm for vm in await self.world.vms()}

    async def until_vm(self, name: str, state: EffectiveState) -> None:
        async def is_so() -> bool:
            return effective((await self.vms())[name]) is state

        await self.until(is_so, 120.0)

    async def until(self, true: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
        end = self.world.clock.monotonic() + seconds
        while not (self.world.up and await true()):
            assert self.world.clock.monotonic() < end, await self.told(f"not within {seconds:g} s")
            await asyncio.sleep(0.5)

    async def told(self, what: str) -> str:
        moves = [f"{one.vm_name} -> {one.destination_id}: {one.course}" for one in await self.moves()]
        return "\n".join([what, str(await self.operation()), *moves])

    async def moves(self) -> list[Migration]:
        return list((await self.world.store.read(lambda c: list_migrations(c, None, EVERYTHING))).items)

    async def drain(self) -> None:
        self.drained: Operation = await drain_host(self.world.control, self.world.ctx, "host-0")

    async def operation(self) -> Operation:
        return await self.world.store.read(lambda c: get_operation(c, self.drained.id, None))

    async def state(self) -> HostState:
        return effective_host(await self.world.store.read(lambda c: get_host(c, "host-0")))

    async def in_maintenance(self) -> bool:
        return await self.state() is HostState.MAINTENANCE and (await self.operation()).state is OperationState.DONE

    def at(self, phase: Phase, act: Callable[[VmId], Coroutine[None, None, None]]) -> None:
        """Once, at the first attempt's phase."""

        def watch(now: Phase, vm_id: VmId) -> None:
            if now is phase:
                self.world.net.watch = None
                self.tasks.append(asyncio.create_task(act(vm_id)))

        self.world.net.watch = watch

    async def tidy(self, *left: str) -> None:
        """Each is in one place, with all that it has; it was started once, by its creation. `left`: those that stayed on the first host."""
        await asyncio.sleep(60.0)
        assert self.world.net.watch is None, "what was to break has never happened"
        for task in self.tasks:
            task.result()
        vms = await self.vms()
        for name, vm in vms.items():
            assert (vm.host_id == self.host.host_id) is (name in left), f"{name} is at {vm.host_id}"
            for machine in self.world.machines.values():
                here, vm_id = machine.host_id == vm.host_id, vm.desired.id
                assert (vm_id in machine.sim.disks) is here, f"{name}: its disk at {machine.name}"
                domain = machine.sim.domains.get(vm_id)
                assert (domain is not None and domain.executes) is (here and name != "still"), f"{name} at {machine.name}"
                assert name != "still" or not here or machine.sim.contents[vm_id] == b".", "what was written is lost"
            starts = sum(machine.sim.calls.count(("start", vm.desired.id)) for machine in self.world.machines.values())
            assert starts == 1, f"{name} was started {starts} times"
        assert not any(self.world.net.doors(name) for name in self.world.machines)
        claims = await self.world.store.read(lambda c: c.execute(select(func.count(func.distinct(claim.c.id)))).scalar_one())
        assert claims == len(vms)
        assert not await self.world.open_operations()


@asynccontextmanager
async def ward(folder: Path) -> AsyncIterator[Ward]:
    world = World(0, folder, Build(hosts=3))
    await world.open()
    found = Ward(world)
    try:
        await found.fill()
        yield found
        world.witness.verdict()
    finally:
        await world.close()


def live(story: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story)


def test_all_go_as_planned(memory: Path) -> None:
    async def story() -> None:
        async with ward(memory) as here:
            _, plan, _ = await plan_host_drain(here.world.control, "host-0")
            assert {one.vm_name for one in plan.going} == {*RUNNING, "still"}
            assert not plan.staying
            await here.drain()
            await here.until(here.in_maintenance)
            assert (await here.operation()).stage == "5 moved, the host is empty"
            moves = await here.moves()
            assert {(one.vm_name, one.spec.kind) for one in moves} == {*((name, MigrationKind.LIVE) for name in RUNNING), ("still", MigrationKind.COLD)}
            assert {one.vm_id: one.destination_id for one in moves} == {one.vm_id: one.destination_id for one in plan.going}
            await here.tidy()

    live(story())


@pytest.mark.parametrize("phase", [Phase.BEGIN, Phase.LATE, Phase.FINISHED])
def test_the_server_dies_in_the_middle(phase: Phase, memory: Path) -> None:
    async def story() -> None:
        async with ward(memory) as here:

            async def dies(_vm_id: VmId) -> None:
                await here.world.kill_server()
                await asyncio.sleep(40.0)
                await here.world.start_server()

            here.at(phase, dies)
            await here.drain()
            await here.until(here.in_maintenance)
            await here.tidy()

    live(story())


def test_one_that_fails_holds_up_no_other_and_is_tried_again(memory: Path) -> None:
    async def story() -> None:
        async with ward(memory) as here:
            failed: list[VmId] = []

            async def fails(vm_id: VmId) -> None:
                failed.append(vm_id)
                for machine in here.world.machines.values():
                    if machine is not here.host:
                        kill_guest(machine, vm_id)

            async def to_be_tried_again() -> bool:
                return (await here.operation()).stage == "4 of 5 moved, 0 under way, 1 to be tried again"

            here.at(Phase.EARLY, fails)
            await here.drain()
            await here.until(to_be_tried_again, 60.0)
            vm = next(vm for vm in (await here.vms()).values() if vm.desired.id == failed[0])
            assert (vm.host_id, effective(vm)) == (here.host.host_id, EffectiveState.RUNNING)
            await here.until(here.in_maintenance)
            ends = [one.course.state for one in sorted(await here.moves(), key=lambda one: one.created_at) if one.vm_id == failed[0]]
            assert ends == [MigrationState.FAILED, MigrationState.DONE]
            await here.tidy()

    live(story())


def test_without_room_it_stays_draining_says_so_and_goes_on_when_there_is_some(memory: Path) -> None:
    async def story() -> None:
        async with ward(memory) as here:
            for number in (1, 2):
                await here.cordon(True, *(name for name in here.world.machines if name != f"host-{number}"))
                await here.cordon(False, f"host-{number}")
                await here.create(f"filler-{number}", memory_mib=50_000)
            await here.cordon(True, "host-1", "host-2")
            await here.cordon(False, "host-0")
            await here.create("large", memory_mib=40_000)
            await here.cordon(False, "host-1", "host-2")

            async def blocked() -> bool:
                return (await here.operation()).blocked_on == "1 cannot move (no_capacity)"

            await here.drain()
            await here.until(blocked)
            await asyncio.sleep(SECONDS)
            assert (await here.operation()).stage == "5 of 6 moved, 0 under way"
            assert await here.state() is HostState.DRAINING
            assert len(await here.moves()) == 5, "what cannot go is not tried in vain"
            told = (await here.world.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=here.host.host_id))).items
            assert [one.kind for one in told].count("host.drain_blocked") == 1
            await delete_vm(here.world.control, here.world.ctx, "filler-2")
            await here.until(here.in_maintenance)
            await here.tidy()

    live(story())


def test_uncordon_in_the_middle_ends_it_and_what_is_under_way_arrives(memory: Path) -> None:
    async def story() -> None:
        async with ward(memory) as here:

            async def uncordon(_vm_id: VmId) -> None:
                await here.cordon(False, "host-0")

            async def over() -> bool:
                return not await here.world.open_operations() and all(one.course.state in ENDED for one in await here.moves())

            here.at(Phase.EARLY, uncordon)
            await here.drain()
            await here.until(over, 120.0)
            assert await here.state() is HostState.READY
            assert (await here.operation()).state is OperationState.CANCELLED
            moves = {one.vm_name: one.course.state for one in await here.moves()}
            arrived = {name for name, state in moves.items() if state is MigrationState.DONE}
            assert arrived
            assert set(moves.values()) == {MigrationState.DONE, MigrationState.CANCELLED}
            await here.tidy(*({*RUNNING, "still"} - arrived))
            assert len(await here.moves()) == len(moves), "nothing goes on"

    live(story())


def test_a_host_that_is_not_heard_of_is_drained_when_it_is_back(memory: Path) -> None:
    """What it has is unknown meanwhile: nothing of it is moved, started or ended."""

    async def story() -> None:
        async with ward(memory) as here:

            async def isolated(_vm_id: VmId) -> None:
                here.host.reachable = False
                here.host.cut()
                await asyncio.sleep(120.0)
                assert {effective(vm) for vm in (await here.vms()).values() if vm.host_id == here.host.host_id} == {EffectiveState.UNKNOWN}
                assert await here.state() is HostState.UNREACHABLE
                here.host.reachable = True

            here.at(Phase.EARLY, isolated)
            await here.drain()
            await here.until(here.in_maintenance)
            await here.tidy()

    live(story())
