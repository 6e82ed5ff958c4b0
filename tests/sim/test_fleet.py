"""The fault matrix: at each phase of a move, each thing that can break, one or two at a time. The guest never runs twice and never begins anew from an old disk;
when all is well again it runs in one place, nothing of the move is left, and it can be moved."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from houyi.host.sim.net import Phase
from houyi.model.ids import MigrationId, VmId
from houyi.model.migration import MigrationState
from sim.between import SimDoor
from sim.faults import CROWD, DOUBLE, FAULTS, HANDOVER, WORDS, Ends, Fault, connection_lost, destination_unheard, together
from sim.fleet import PREPARING, Fleet, Scene, When, heal, live_through
from sim.virtual import VirtualLoop
from sim.world import Build, World

pytestmark = pytest.mark.usefixtures("quiet")
LIVE = [phase for phase in Phase if phase is not Phase.POSTCOPY]
POSTCOPY = [phase for phase in Phase if phase is not Phase.LATE]
SCENES = {"live": Scene(), "post-copy": Scene(postcopy=True), "crowd": Scene(build=Build(hosts=3, servers=2))}
TABLES: tuple[tuple[str, Sequence[When], Mapping[str, Fault]], ...] = (
    ("live", [PREPARING], {**FAULTS, **DOUBLE, **WORDS}),
    ("live", LIVE, DOUBLE),
    ("live", LIVE, WORDS),
    ("live", LIVE, HANDOVER),
    ("post-copy", POSTCOPY, {**FAULTS, **WORDS}),
    ("crowd", [PREPARING, *LIVE], CROWD),
)
SINGLE = [("live", phase, name, fault) for phase in LIVE for name, fault in FAULTS.items()]
MORE = [(scene, phase, name, fault) for scene, phases, faults in TABLES for phase in phases for name, fault in faults.items()]
EVERY = int(os.environ.get("HOUYI_SIM_EVERY", "7"))
"""Every so many cells of MORE, 1 is all of them; SINGLE, one fault in a plain live move, is always tried whole."""


@pytest.mark.parametrize(("scene", "when", "fault"), [pytest.param(s, w, f, id=f"{s}-{w}-{name}") for s, w, name, f in [*SINGLE, *MORE[::EVERY]]])
def test_the_matrix(scene: str, when: When, fault: Fault, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, SCENES[scene], when, fault))


def refused(ends: Ends, vm_id: VmId) -> None:
    door = ends.world.net.door(ends.destination.name, MigrationId(ends.migration_id))
    assert isinstance(door, SimDoor)
    door.refuse(MigrationId(ends.migration_id))
    connection_lost(ends, vm_id)


@pytest.mark.parametrize("silent", [False, True])
def test_why_the_destination_ended_it_is_told(silent: bool, memory: Path) -> None:
    """Its source only sees the connection's end, and says so first where the destination is silent for a while."""

    async def life() -> None:
        world = World(0, memory)
        await world.open()
        fleet = Fleet(world)
        try:
            await fleet.create()
            fleet.at(Phase.EARLY, together(refused, destination_unheard) if silent else refused)
            await fleet.begin()
            await fleet.until(fleet.is_reached, 60.0)
            await asyncio.sleep(30.0)
            await heal(world)
            await fleet.until(fleet.ended, 60.0)
            course = (await fleet.migration()).course
            assert (course.state, course.error and course.error.code, course.why) == (
                MigrationState.FAILED,
                "call_refused",
                "the peer's libvirt asked for what has no place in a move",
            )
            await fleet.tidy()
        finally:
            await world.close()
        world.witness.verdict()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(life())


@pytest.mark.parametrize("phase", [Phase.LATE, Phase.FINISHED, Phase.TOLD, Phase.CONFIRM])
@pytest.mark.parametrize(
    "fault",
    ["source libvirtd dies", "source libvirtd blinks, destination slow", "source libvirtd blinks, destination unheard", "source agent dies", "network cut"],
)
def test_a_paused_guest(phase: Phase, fault: str, memory: Path) -> None:
    """It shows less of where it is than one that ran until it was halted; it stays paused throughout."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, Scene(paused=True), phase, {**FAULTS, **HANDOVER}[fault]))
