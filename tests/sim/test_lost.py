"""A host is lost for good in the middle of a move, and an administrator says so: the move ends, and the VM lives on where it is whole, or can be deleted."""

import asyncio
from pathlib import Path

import pytest

from houyi.control.commands.host import remove_host
from houyi.control.commands.vm import delete_vm
from houyi.host.sim.net import Phase
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.migration import Migration, MigrationState
from sim.faults import Ends, cut
from sim.fleet import PREPARING, REACHED_SECONDS, TIDY_SECONDS, Fleet, Scene, When, left_overs
from sim.virtual import VirtualLoop
from sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")
SILENT_SECONDS = 45.0
"""After which a host that is gone is unreachable, and what was under way has ended as far as it can."""
WHOLE = (Phase.FINISHED, Phase.TOLD, Phase.CONFIRM)
"""From then on the destination has the guest whole."""


async def source_is_lost(ends: Ends, vm_id: VmId) -> None:
    cut(ends, vm_id)
    await ends.source.reboot()


async def destination_is_lost(ends: Ends, vm_id: VmId) -> None:
    cut(ends, vm_id)
    await ends.destination.reboot()


class Loss(Fleet):
    async def happen(self, when: When, *, source: bool) -> None:
        """The guest is on its way when the machine dies, for good."""
        await self.create()
        self.at(when, source_is_lost if source else destination_is_lost)
        await self.begin()
        await self.until(self.is_reached, REACHED_SECONDS)
        await asyncio.sleep(SILENT_SECONDS)
        for task in self.tasks:
            task.result()

    async def remove(self, *, source: bool) -> None:
        lost = self.source if source else self.destination
        self.world.witness.bury(lost.name)
        await remove_host(self.world.control, self.world.ctx, lost.name, lost=True)
        await self.world.machines.pop(lost.name).sim.close()
        await self.until(self.ended, TIDY_SECONDS)

    async def nothing_is_left(self) -> bool:
        return not await left_overs(self.world)

    async def ended_as(self) -> tuple[MigrationState, str]:
        found: Migration = await self.migration()
        return found.course.state, found.course.error.code if found.course.error is not None else ""


def lived(folder: Path, scene: Scene, when: When, *, source: bool, deleted: bool = False) -> None:
    async def life() -> None:
        world = World(0, folder, scene.build)
        await world.open()
        fleet = Loss(world, scene)
        try:
            await fleet.happen(when, source=source)
            if deleted:
                with pytest.raises(Conflict, match="delete them"):
                    await fleet.remove(source=source)
                await delete_vm(world.control, world.ctx, "vm")
            await fleet.remove(source=source)
            stays = fleet.destination if source else fleet.source
            if deleted:
                await fleet.until(fleet.nothing_is_left, TIDY_SECONDS)
                assert await world.vms() == []
                assert stays.sim.domains == {}
            else:
                await fleet.until(fleet.runs, TIDY_SECONDS)
                assert (await fleet.vm()).host_id == stays.host_id
                await fleet.tidy()
            if not source and not deleted:
                assert await fleet.ended_as() in ((MigrationState.FAILED, "host_removed"), (MigrationState.FAILED, "migration_failed"))
        finally:
            await world.close()
        world.witness.verdict()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(life())


@pytest.mark.parametrize("when", [PREPARING, *(phase for phase in Phase if phase not in (Phase.POSTCOPY, Phase.TOLD, Phase.CONFIRM))])
def test_a_lost_destination(when: When, memory: Path) -> None:
    """The guest goes on at its source, or begins anew there."""
    lived(memory, Scene(), when, source=False)


@pytest.mark.parametrize("when", [Phase.TOLD, Phase.CONFIRM])
def test_a_lost_destination_that_had_the_guest(when: When, memory: Path) -> None:
    """It ran there already, and what it wrote is lost with it."""
    lived(memory, Scene(), when, source=False, deleted=True)


@pytest.mark.parametrize("when", WHOLE)
def test_a_lost_source_whose_guest_had_arrived(when: When, memory: Path) -> None:
    lived(memory, Scene(), when, source=True)


@pytest.mark.parametrize("when", [PREPARING, *(phase for phase in Phase if phase not in (Phase.POSTCOPY, *WHOLE))])
def test_a_lost_source_that_had_the_guest(when: When, memory: Path) -> None:
    """Its disk is lost: the VM can be deleted, and then the host removed; what had come is taken back."""
    lived(memory, Scene(), when, source=True, deleted=True)


@pytest.mark.parametrize("source", [False, True])
def test_half_a_guest_begins_anew_where_its_disk_is(source: bool, memory: Path) -> None:
    lived(memory, Scene(postcopy=True), Phase.POSTCOPY, source=source)
