"""Words that come late, or twice: whatever a host is told that was true once, it never runs a VM again that another host was given since."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from houyi.model.migration import MigrationState, Order
from houyi.wire.agents import Desired, decode_down
from sim.fleet import TIDY_SECONDS, Fleet, Watchman
from sim.schedule import Machine, World
from sim.virtual import VirtualLoop


async def nothing(_machine: Machine) -> None:
    """The agent lives on."""


async def restart(machine: Machine) -> None:
    await machine.kill()
    machine.start()
    await asyncio.sleep(10.0)


async def _life(folder: Path, late: Callable[[Desired], bool], between: Callable[[Machine], Awaitable[None]]) -> None:
    """A VM moves away; then its old host is told again, in turn, those snapshots that it was told before the move had ended and that `late` chooses."""
    world = World(0, folder)
    await world.open()
    fleet, watchman = Fleet(world), Watchman(world)
    watching = asyncio.create_task(watchman.watch())
    try:
        await fleet.create()
        await fleet.begin()
        source = fleet.source
        await fleet.until(fleet.ended, TIDY_SECONDS)
        assert (await fleet.migration()).course.state is MigrationState.DONE
        messages = [message for message in source.wire.host.heard if isinstance(told := decode_down(message), Desired) and late(told)]
        assert messages or late is _never
        await asyncio.sleep(5.0)
        await between(source)
        for message in messages:
            source.wire.host.arrives(message, 0.0)
            await asyncio.sleep(20.0)
        watchman.check()
        assert (source.sim.domains, source.sim.disks, source.sim.seeds) == ({}, {}, {})
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await world.close()


def _never(_told: Desired) -> bool:
    return False


def _before(told: Desired) -> bool:
    return bool(told.vms) and not told.moves


def _during(told: Desired) -> bool:
    return any(move.order in (Order.STAND_BY, Order.MOVE) for move in told.moves)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("between", [nothing, restart])
@pytest.mark.parametrize("late", [_before, _during])
def test_a_vm_that_has_left_is_not_run_again_by_an_old_order(
    late: Callable[[Desired], bool], between: Callable[[Machine], Awaitable[None]], memory: Path
) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_life(memory, late, between))


def test_a_move_ends_without_a_complaint(memory: Path) -> None:
    """Neither end is told that something strange was said, since nothing was."""
    with capture_logs() as logs, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_life(memory, _never, nothing))
    strange = [line for line in logs if line["log_level"] in ("warning", "error") and line["event"] != "link_lost"]
    assert strange == []
