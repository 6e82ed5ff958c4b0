"""Random schedules of users, guests and faults, each replayable from its seed: `HOUYI_SIM_SEEDS=1000 pytest tests/sim/test_schedules.py` for a longer look."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.host.sim.state import SimDomain
from houyi.model.ids import VmId
from houyi.model.vm import VmState
from sim.schedule import Monitor, settled, simulate
from sim.virtual import VirtualLoop
from sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")
SEEDS = int(os.environ.get("HOUYI_SIM_SEEDS", "4"))
EVENTS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_life(seed: int, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(simulate(seed, memory, EVENTS))


def test_a_seed_is_replayed_word_for_word(memory: Path) -> None:
    stories = []
    for name in ("first", "second"):
        (memory / name).mkdir()
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            stories.append(runner.run(simulate(3, memory / name, 12)).acts)
    assert len(stories[0]) > 5
    assert stories[0] == stories[1]


async def _plant(folder: Path, bug: str) -> None:
    """A VM runs; then a bug of the platform is acted out on the machines."""
    world = World(0, folder)
    await world.open()
    try:
        await create_vm(world.control, world.ctx, VmAsk(name="vm", image="disk", vcpus=1, memory_mib=128, disk_gib=1))
        await asyncio.sleep(30.0)
        monitor = Monitor(world)
        await monitor.check()
        await settled(world)
        (vm,) = await world.vms()
        holder, other = sorted(world.machines.values(), key=lambda machine: vm.desired.id not in machine.sim.domains)
        for machine in world.machines.values():
            await machine.kill()
        domain = holder.sim.domains[vm.desired.id]
        match bug:
            case "twice":
                other.sim.domains[vm.desired.id] = SimDomain(vm.desired, state=VmState.RUNNING)
            case "elsewhere":
                other.sim.domains[vm.desired.id] = holder.sim.domains.pop(vm.desired.id)
            case "old epoch":
                domain.vm = replace(vm.desired, epoch=0)
            case "reboots by itself":
                holder.sim.calls.append(("reboot", vm.desired.id))
            case "not as wished":
                domain.state = VmState.STOPPED
            case "left over":
                other.sim.disks[VmId("another")] = 1
        await monitor.check()
        await settled(world)
    finally:
        await world.close()


@pytest.mark.parametrize("bug", ["twice", "elsewhere", "old epoch", "reboots by itself", "not as wished", "left over"])
def test_the_checker_catches_a_planted_bug(bug: str, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(AssertionError):
        runner.run(_plant(memory, bug))


def test_and_nothing_where_there_is_none(memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_plant(memory, "none"))
