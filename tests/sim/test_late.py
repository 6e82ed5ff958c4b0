"""What a server says that knows less than its hosts do: its store was restored from an older copy. No host runs a VM again that another was given since."""

import asyncio
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from houyi.agent.rules import Rules
from houyi.host.sim.net import Phase
from houyi.model.migration import MigrationState
from sim.bugs import plan_at_any_epoch
from sim.fleet import BROKEN_SECONDS, PREPARING, REACHED_SECONDS, TIDY_SECONDS, Fleet, Scene, When
from sim.virtual import VirtualLoop
from sim.world import Build, World

AFTER = "after"
"""The copy is put back when the move has ended; else while it goes on."""


async def _copy_back(fleet: Fleet, _vm_id: str) -> None:
    world = fleet.world
    await world.kill_server()
    shutil.copy(world.folder / "copy.db", world.folder / "houyi.db")
    await world.start_server()


async def _restored(folder: Path, when: When, build: Build) -> None:
    """A copy of the store is made, a VM moves away, and the copy is put back."""
    world = World(0, folder, build)
    await world.open()
    fleet = Fleet(world, Scene())
    try:
        await fleet.create()
        await world.kill_server()
        shutil.copy(folder / "houyi.db", folder / "copy.db")
        await world.start_server()
        await asyncio.sleep(10.0)
        if when != AFTER:
            fleet.at(when, _copy_back)
        await fleet.begin()
        if when == AFTER:
            await fleet.until(fleet.ended, TIDY_SECONDS)
            assert (await fleet.migration()).course.state is MigrationState.DONE
            await asyncio.sleep(5.0)
            await _copy_back(fleet, "")
        else:
            await fleet.until(fleet.is_reached, REACHED_SECONDS)
        await asyncio.sleep(BROKEN_SECONDS)
        await fleet.source.kill()  # nor does it forget what it knew
        fleet.source.start()
        await asyncio.sleep(BROKEN_SECONDS)
        assert world.witness.begun >= 1
        world.witness.verdict()
        if when == AFTER:
            assert (fleet.source.sim.domains, fleet.source.sim.disks, fleet.source.sim.seeds) == ({}, {}, {})
    finally:
        await world.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("when", [PREPARING, *(phase for phase in Phase if phase is not Phase.POSTCOPY), AFTER])
def test_a_store_that_was_restored_runs_no_second_copy(when: When, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_restored(memory, when, Build()))


@pytest.mark.usefixtures("quiet")
def test_without_the_epoch_check_it_would(memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(AssertionError, match="executes on"):
        runner.run(_restored(memory, AFTER, Build(rules=Rules(plan=plan_at_any_epoch))))


async def _moved(folder: Path) -> None:
    world = World(0, folder)
    await world.open()
    fleet = Fleet(world, Scene())
    try:
        await fleet.create()
        await fleet.begin()
        await fleet.until(fleet.ended, TIDY_SECONDS)
        await fleet.tidy()
    finally:
        await world.close()


def test_a_move_ends_without_a_complaint(memory: Path) -> None:
    """Neither end is told that something strange was said, since nothing was."""
    with capture_logs() as logs, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_moved(memory))
    strange = [line for line in logs if line["log_level"] in ("warning", "error") and line["event"] != "link_lost"]
    assert strange == []
