"""A stopped VM moves with its disk: at each stage, each thing that can break. What was written on its disk is never lost, and is in one place in the end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from houyi.control.commands.migration import MigrationAsk, migrate_vm
from houyi.control.commands.vm import start_vm, stop_vm
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.migration import ENDED, MigrationKind, MigrationState
from houyi.model.vm import EffectiveState, StopMode, effective
from sim.faults import FAULTS
from sim.fleet import BROKEN_SECONDS, TIDY_SECONDS, Fleet, heal
from sim.schedule import settled
from sim.virtual import VirtualLoop
from sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")

STAGES = {"offered": ("source", "parcels"), "copying": ("destination", "put"), "accepted": ("destination", "accept")}
"""Whose call of its machine a stage is known by."""
WITHOUT_QEMU = [name for name in FAULTS if "QEMU" not in name and "memory" not in name]
GIB = 40
"""As many blocks, which take a second together."""


class ColdFleet(Fleet):
    """Its VM is stopped, and its disk has been written to."""

    async def stopped(self) -> bool:
        return effective(await self.vm()) is EffectiveState.STOPPED

    async def written(self) -> bytes:
        """On the disk that is at the VM's home. :raise AssertionError: there is another."""
        vm = await self.vm()
        home = next(one for one in self.world.machines.values() if one.host_id == vm.host_id)
        assert [one.name for one in self.world.machines.values() if one.sim.disks] == [home.name]
        return home.sim.contents[vm.desired.id]

    async def stop(self) -> None:
        await self.create(disk_gib=GIB)
        await stop_vm(self.world.control, self.world.ctx, (await self.vm()).desired.id, mode=StopMode.FORCE)
        await self.until(self.stopped, 60.0)
        assert await self.written() == b"."

    async def when(self, stage: str, act: Callable[[Fleet, VmId], Awaitable[None] | None]) -> None:
        end, call = STAGES[stage]
        vm_id = (await self.vm()).desired.id
        sim = self.source.sim if end == "source" else self.destination.sim
        before = sim.calls.count((call, vm_id))

        async def called() -> bool:
            return sim.calls.count((call, vm_id)) > before

        await self.until(called, BROKEN_SECONDS, 0.01)
        if (doing := act(self, vm_id)) is not None:
            await doing


async def live_through(folder: Path, stage: str, fault: Callable[[Fleet, VmId], Awaitable[None] | None] | None) -> MigrationState:
    """:return: how the move that was broken ended."""
    world = World(0, folder)
    await world.open()
    fleet = ColdFleet(world)
    try:
        await fleet.stop()
        await fleet.begin()
        assert (await fleet.migration()).spec.kind is MigrationKind.COLD
        if fault is not None:
            await fleet.when(stage, fault)
            await asyncio.sleep(BROKEN_SECONDS)
            await heal(world)
        await fleet.until(fleet.ended, 3 * TIDY_SECONDS)
        await settled(world)
        await asyncio.sleep(5.0)
        first = (await fleet.migration()).course.state
        assert await fleet.written() == b"."
        assert (await fleet.vm()).host_id == (fleet.destination if first is MigrationState.DONE else fleet.source).host_id
        await fleet.tidy()
        await fleet.begin()
        await fleet.until(fleet.ended, 3 * TIDY_SECONDS)
        assert (await fleet.migration()).course.state is MigrationState.DONE, await fleet.told("a second try failed")
        await start_vm(world.control, world.ctx, (await fleet.vm()).desired.id)
        await fleet.until(fleet.runs, TIDY_SECONDS)
        assert await fleet.written() == b".."
        await fleet.tidy()
        world.witness.verdict()
    finally:
        await world.close()
    return first


def lived(folder: Path, stage: str, fault: Callable[[Fleet, VmId], Awaitable[None] | None] | None) -> MigrationState:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(live_through(folder, stage, fault))


def test_it_arrives_with_what_was_written_on_it(memory: Path) -> None:
    assert lived(memory, "", None) is MigrationState.DONE


@pytest.mark.parametrize("fault", WITHOUT_QEMU)
@pytest.mark.parametrize("stage", STAGES)
def test_whatever_breaks_nothing_is_lost(stage: str, fault: str, memory: Path) -> None:
    assert lived(memory, stage, FAULTS[fault]) in ENDED


def test_cancelled_while_it_is_copied_it_stays(memory: Path) -> None:
    assert lived(memory, "copying", FAULTS["cancel"]) is MigrationState.CANCELLED


def test_a_short_break_of_the_line_is_got_over(memory: Path) -> None:
    async def short(fleet: Fleet, vm_id: VmId) -> None:
        before = fleet.destination.sim.calls.count(("put", vm_id))
        fleet.world.net.cut(fleet.source.name, fleet.destination.name)
        await asyncio.sleep(1.0)
        fleet.world.net.heal()
        await asyncio.sleep(10.0)
        assert fleet.destination.sim.calls.count(("put", vm_id)) + before <= GIB + 3, "what had arrived was not sent again"

    assert lived(memory, "copying", short) is MigrationState.DONE


def test_while_it_moves_it_cannot_be_started(memory: Path) -> None:
    async def whole() -> None:
        world = World(0, memory)
        await world.open()
        fleet = ColdFleet(world)
        try:
            await fleet.stop()
            await fleet.begin()

            async def start(_fleet: Fleet, vm_id: VmId) -> None:
                for verb in (start_vm(world.control, world.ctx, vm_id), migrate_vm(world.control, world.ctx, vm_id, MigrationAsk())):
                    with pytest.raises(Conflict) as refused:
                        await verb
                    assert refused.value.code == "vm_migrating"

            await fleet.when("copying", start)
            await fleet.until(fleet.ended, TIDY_SECONDS)
        finally:
            await world.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())
