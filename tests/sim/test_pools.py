"""A pool of hosts with different CPUs: its VMs go everywhere, one that asks for more does not, and who was started before runs on with what it has."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from houyi.control.commands.host import update_host_desired
from houyi.control.commands.migration import MigrationAsk, migrate_vm, plan_migration
from houyi.control.commands.pool import create_pool
from houyi.control.commands.vm import start_vm, stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm, rehearse_vm
from houyi.host.sim import sim_facts
from houyi.model.cpu import CpuBaseline
from houyi.model.errors import Conflict, NoCapacity
from houyi.model.migration import ENDED, MigrationState
from houyi.model.pool import Pool
from houyi.model.vm import EffectiveState, Vm, effective
from houyi.planning.pool import apart
from houyi.store.views.migration import get_migration
from houyi.store.views.pool import get_pool
from houyi.store.views.vm import get_vm
from sim.virtual import VirtualLoop
from sim.world import Build, Machine, World

pytestmark = pytest.mark.usefixtures("quiet")
NEW, OLD = ("aes", "avx", "avx2", "sse2"), ("aes", "avx", "sse2")


class Pooled:
    """Three hosts, the last of an older make, in a pool."""

    def __init__(self, folder: Path) -> None:
        self.world = World(0, folder, Build(hosts=3))

    async def open(self) -> None:
        await self.world.open()
        for machine, features in zip(self.world.machines.values(), (NEW, NEW, OLD), strict=True):
            await machine.kill()
            machine.sim.facts = sim_facts(features=features)
            machine.start()
        await create_pool(self.world.control, self.world.ctx, "new")
        await asyncio.sleep(5.0)

    def machine(self, number: int) -> Machine:
        return self.world.machines[f"host-{number}"]

    async def join(self, *numbers: int) -> None:
        for number in numbers:
            await update_host_desired(self.world.control, self.world.ctx, f"host-{number}", pool="new")

    async def pool(self) -> Pool:
        return await self.world.store.read(lambda c: get_pool(c, "new"))

    async def settled(self, features: tuple[str, ...]) -> CpuBaseline:
        for _ in range(60):
            status = (await self.pool()).status
            if status.baseline is not None and status.baseline.features == features and not status.trouble:
                return status.baseline
            await asyncio.sleep(0.5)
        raise AssertionError(f"not settled: {await self.pool()}")

    async def create(self, name: str, **ask: Any) -> Vm:
        await create_vm(self.world.control, self.world.ctx, VmAsk(name=name, image="disk", vcpus=1, memory_mib=128, disk_gib=1, **ask))
        return await self.until(name, EffectiveState.RUNNING)

    async def until(self, name: str, state: EffectiveState) -> Vm:
        for _ in range(120):
            vm = await self.vm(name)
            if effective(vm) is state and vm.observed is not None and vm.observed.generation == vm.desired.generation:
                return vm
            await asyncio.sleep(0.5)
        raise AssertionError(f"{name} is {effective(vm)}: {vm}")

    async def vm(self, name: str) -> Vm:
        return await self.world.store.read(lambda c: get_vm(c, name, None))

    async def move(self, name: str, to: int) -> MigrationState:
        ask = MigrationAsk(to=f"host-{to}")
        migration, _ = await migrate_vm(self.world.control, self.world.ctx, name, ask)
        for _ in range(240):
            now = await self.world.store.read(lambda c: get_migration(c, migration.id, None))
            if now.course.state in ENDED:
                await asyncio.sleep(3.0)
                return now.course.state
            await asyncio.sleep(0.5)
        raise AssertionError(f"it does not end: {now}")

    def features(self, name: str, vm: Vm) -> tuple[str, ...]:
        (domain,) = [one for machine in self.world.machines.values() for one in machine.sim.domains.values() if one.executes and one.vm.id == vm.desired.id]
        return domain.cpu_features


def lived(memory: Path, life: Callable[[Pooled], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        pooled = Pooled(memory)
        await pooled.open()
        try:
            await life(pooled)
        finally:
            await pooled.world.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())


def test_a_vm_of_the_pool_moves_everywhere(memory: Path) -> None:
    async def life(pooled: Pooled) -> None:
        await pooled.join(0, 1, 2)
        await pooled.settled(OLD)
        vm = await pooled.create("vm", pool="new")
        assert pooled.features("vm", vm) == OLD
        assert vm.observed is not None
        assert vm.observed.cpu_features == OLD
        for _ in range(2):
            for number in range(3):
                if (await pooled.vm("vm")).host_id != pooled.machine(number).host_id:
                    assert await pooled.move("vm", number) is MigrationState.DONE
                    assert (await pooled.vm("vm")).host_id == pooled.machine(number).host_id

    lived(memory, life)


def test_a_vm_that_asks_for_more_goes_only_where_that_is(memory: Path) -> None:
    async def life(pooled: Pooled) -> None:
        await pooled.join(0, 1, 2)
        await pooled.settled(OLD)
        _, choice = await rehearse_vm(
            pooled.world.control, pooled.world.ctx, VmAsk(name="vm", image="disk", vcpus=1, memory_mib=128, disk_gib=1, cpu_features=["avx2"])
        )
        told = {look.host_name: look.why for look in choice.table()}
        assert told == {"host-0": "", "host-1": "", "host-2": "guests cannot have CPU feature avx2"}
        vm = await pooled.create("vm", cpu_features=["avx2"])
        assert pooled.features("vm", vm) == NEW
        here = next(number for number in range(2) if pooled.machine(number).host_id == vm.host_id)
        with pytest.raises(Conflict, match=r"features that host host-2 does not have \(avx2\)") as refused:
            await migrate_vm(pooled.world.control, pooled.world.ctx, "vm", MigrationAsk(to="host-2"))
        assert refused.value.code == "cpu_incompatible"
        await update_host_desired(pooled.world.control, pooled.world.ctx, f"host-{1 - here}", cordoned=True)
        plan = await plan_migration(pooled.world.control, pooled.world.ctx, "vm", MigrationAsk())
        assert [problem.code for problem in plan.problems] == ["no_capacity", "cpu_incompatible"]
        await update_host_desired(pooled.world.control, pooled.world.ctx, f"host-{1 - here}", cordoned=False)
        assert await pooled.move("vm", 1 - here) is MigrationState.DONE

    lived(memory, life)


def test_who_runs_keeps_its_cpu_when_an_older_host_joins(memory: Path) -> None:
    async def life(pooled: Pooled) -> None:
        await pooled.join(0, 1)
        baseline = await pooled.settled(NEW)
        vm = await pooled.create("vm", pool="new")
        assert apart(baseline, [vm]) == ()
        await pooled.join(2)
        baseline = await pooled.settled(OLD)
        await asyncio.sleep(5.0)
        vm = await pooled.vm("vm")
        assert pooled.features("vm", vm) == NEW, "nobody takes a feature from a guest that runs"
        (held,) = apart(baseline, [vm])
        assert (held.vm_name, held.more, held.less) == ("vm", ("avx2",), ())
        with pytest.raises(Conflict, match="avx2"):
            await migrate_vm(pooled.world.control, pooled.world.ctx, "vm", MigrationAsk(to="host-2"))
        await stop_vm(pooled.world.control, pooled.world.ctx, "vm")
        await pooled.until("vm", EffectiveState.STOPPED)
        await start_vm(pooled.world.control, pooled.world.ctx, "vm")
        vm = await pooled.until("vm", EffectiveState.RUNNING)
        assert pooled.features("vm", vm) == OLD
        assert apart(baseline, [vm]) == ()
        assert await pooled.move("vm", 2) is MigrationState.DONE

    lived(memory, life)


def test_a_server_that_dies_in_between_asks_again(memory: Path) -> None:
    async def life(pooled: Pooled) -> None:
        await pooled.join(0, 1, 2)
        await pooled.world.kill_server()
        await pooled.world.start_server()
        await pooled.settled(OLD)
        await pooled.machine(2).kill()
        pooled.machine(2).sim.facts = replace(sim_facts(features=NEW))
        pooled.machine(2).start()
        await pooled.settled(NEW)

    lived(memory, life)


def test_outside_the_pool_is_no_place(memory: Path) -> None:
    async def life(pooled: Pooled) -> None:
        await pooled.join(0)
        await pooled.settled(NEW)
        vm = await pooled.create("vm", pool="new")
        assert vm.host_id == pooled.machine(0).host_id
        with pytest.raises(NoCapacity, match="not in the pool"):
            await migrate_vm(pooled.world.control, pooled.world.ctx, "vm", MigrationAsk(to="host-1"))
        with pytest.raises(Conflict) as refused:
            await update_host_desired(pooled.world.control, pooled.world.ctx, "host-0", pool="")
        assert refused.value.code == "pool_vms_here"

    lived(memory, life)
