"""One VM that moves between machines, in a world of its own: what is done, what is waited for, and what has to be true in the end."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from houyi.control.commands.migration import MigrationAsk, migrate_vm
from houyi.control.commands.vm import pause_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.host.sim.net import Phase
from houyi.model.ids import VmId
from houyi.model.migration import ENDED, Migration, MigrationState
from houyi.model.vm import LOCAL, EffectiveState, Power, RestartPolicy, Vm, effective
from houyi.store.tables import claim
from houyi.store.views.migration import get_migration
from sim.faults import Fault
from sim.schedule import settled
from sim.world import Build, World

BROKEN_SECONDS = 45.0
"""Longer than a silence is noticed, than a lease, and than GO is tried."""
REACHED_SECONDS = 120.0
"""Until the phase that the fault is for."""
TIDY_SECONDS = 60.0
"""After which nothing may be left, once all are heard again."""
PREPARING = "preparing"
"""Before the first phase of an attempt: the destination makes what the guest needs there."""
When = Phase | str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is moved, and where."""

    paused: bool = False
    """By its user."""
    postcopy: bool = False
    """It may be used, and has to be: the guest writes faster than the line carries."""
    build: Build = field(default_factory=Build)


class Fleet:
    """A world with one VM that is to move from `source` to `destination`."""

    def __init__(self, world: World, scene: Scene | None = None) -> None:
        self.world, self.scene = world, scene or Scene()
        self.tasks: set[asyncio.Task[None]] = set()
        self.reached = False
        self.state = EffectiveState.RUNNING
        """In which the VM shall be."""

    async def create(self, name: str = "vm", **ask: object) -> None:
        whole = {"vcpus": 1, "memory_mib": 256, "disk_gib": 1, "restart_policy": RestartPolicy.ALWAYS, **ask}
        await create_vm(self.world.control, self.world.ctx, VmAsk(name=name, image="disk", **whole))  # type: ignore[arg-type]
        await self.until(self.runs, 60.0)

    async def vm(self) -> Vm:
        (vm,) = await self.world.vms()
        return vm

    async def runs(self) -> bool:
        vm = await self.vm()
        return effective(vm) is self.state

    async def pause(self) -> None:
        await pause_vm(self.world.control, self.world.ctx, (await self.vm()).desired.id)
        self.state = EffectiveState.PAUSED
        await self.until(self.runs, 60.0)

    async def begin(self) -> None:
        vm = await self.vm()
        self.source = next(one for one in self.world.machines.values() if one.host_id == vm.host_id)
        self.destination = next(one for one in self.world.machines.values() if one is not self.source)
        if self.scene.postcopy:
            domain = self.source.sim.domains[vm.desired.id]
            domain.dirty_mib_s, domain.write_set_mib = 200.0, 200.0
        ask = MigrationAsk(to=self.destination.name, postcopy=self.scene.postcopy)
        migration, _ = await migrate_vm(self.world.control, self.world.ctx, vm.desired.id, ask)
        self.migration_id = migration.id

    async def migration(self) -> Migration:
        return await self.world.store.read(lambda c: get_migration(c, self.migration_id, None))

    async def ended(self) -> bool:
        return (await self.migration()).course.state in ENDED

    async def until(self, true: Callable[[], Awaitable[bool]], seconds: float, period: float = 0.5) -> None:
        end = self.world.clock.monotonic() + seconds
        while not await true():
            assert self.world.clock.monotonic() < end, await self.told(f"not within {seconds:g} s")
            await asyncio.sleep(period)

    async def told(self, what: str) -> str:
        migration = await self.migration() if hasattr(self, "migration_id") and self.world.up else None
        lines = [what]
        if migration is not None:
            lines += [f"course {migration.course}", f"source {migration.source}", f"destination {migration.destination}"]
        lines += [f"{one.name}: {one.sim.domains}" for one in self.world.machines.values()]
        return "\n".join(lines)

    def at(self, when: When, act: Fault) -> None:
        """Once, at the first attempt's phase."""
        if when == PREPARING:
            self._begin(self._at_preparing(act))
            return

        def watch(now: Phase, vm_id: VmId) -> None:
            if now is when:
                self.world.net.watch = None
                self.reached = True
                if (doing := act(self, vm_id)) is not None:
                    self._begin(doing)

        self.world.net.watch = watch

    async def _at_preparing(self, act: Fault) -> None:
        for machine in self.world.machines.values():
            machine.sim.fetch_seconds = 2.0

        async def prepares() -> bool:
            return hasattr(self, "migration_id") and (await self.migration()).course.state is MigrationState.PREPARING

        await self.until(prepares, REACHED_SECONDS)
        await asyncio.sleep(1.0)
        self.reached = True
        if (doing := act(self, (await self.vm()).desired.id)) is not None:
            await doing

    def _begin(self, doing: Awaitable[None]) -> None:
        self.tasks.add(asyncio.ensure_future(doing))  # type: ignore[arg-type]

    async def is_reached(self) -> bool:
        return self.reached

    async def tidy(self) -> None:
        """The VM runs where its claim is, and of its moves nothing is left, nowhere."""
        end = self.world.clock.monotonic() + TIDY_SECONDS
        while left := await left_overs(self.world):
            assert self.world.clock.monotonic() < end, await self.told(f"left: {left}")
            await asyncio.sleep(0.5)
        await asyncio.sleep(2.0)
        await settled(self.world)
        vm = await self.vm()
        home = next(one for one in self.world.machines.values() if one.host_id == vm.host_id)
        running = home.sim.running(vm.desired.id) is not None
        assert running is (vm.desired.power is not Power.STOPPED), await self.told("it does not do as it shall")
        assert vm.desired.id in home.sim.disks, await self.told("its disk is missing")
        shared = set() if vm.desired.spec.storage == LOCAL else {vm.desired.id}
        assert set(self.world.storage.disks) == shared, "what is shared is nobody's to remove"


async def heal(world: World) -> None:
    """Everything that was broken works again, and everybody that had died lives."""
    world.net.heal()
    await world.start_server()
    for machine in world.machines.values():
        machine.reachable = True
        machine.sim.disk_full = machine.sim.memory_full = False
        if not machine.sim.connected:
            machine.sim.restore_libvirt()
        if not machine.alive:
            machine.start()


async def left_overs(world: World) -> list[str]:
    """What is left of moves on machines, in agents' ledgers and in the store, when there is none: domains, disks, seeds, doors, ways, records, claims."""
    found = []
    home = {vm.desired.id: vm.host_id for vm in await world.vms()}
    for machine in world.machines.values():
        sim = machine.sim
        for kind, there in (("domain", sim.domains), ("disk", sim.disks), ("seed", sim.seeds)):
            found += [f"{kind} of {vm_id} on {machine.name}" for vm_id in there if home.get(vm_id) != machine.host_id]
        found += [f"open door of move {move} on {machine.name}" for move in world.net.doors(machine.name)]
        found += [f"open way of move {road.move} on {machine.name}" for road in world.net.roads if road.source == machine.name]
        found += [f"record of move {name} on {machine.name}" for name in os.listdir(machine.settings.state_dir / "agent" / "ledger" / "moves")]
    claims = [row.id for row in await world.store.read(lambda c: c.execute(select(claim.c.id)).all())]
    found += [f"claim {one} of a move" for one in claims if one not in home]
    found += [f"no claim of {vm_id}" for vm_id, host_id in home.items() if host_id is not None and vm_id not in claims]
    return found


async def live_through(folder: Path, scene: Scene, when: When, fault: Fault, **spec: object) -> MigrationState:
    """One cell of the matrix: the fault at the phase, the healing, and a second try. `spec`: of the VM. :return: how the first ended. :raise AssertionError: ..."""
    world = World(0, folder, scene.build)
    await world.open()
    fleet = Fleet(world, scene)
    try:
        await fleet.create(**spec)
        if scene.paused:
            await fleet.pause()
        fleet.at(when, fault)
        await fleet.begin()
        await fleet.until(fleet.is_reached, REACHED_SECONDS)
        await asyncio.sleep(BROKEN_SECONDS)
        for task in fleet.tasks:
            task.result()
        await heal(world)
        await fleet.until(fleet.ended, TIDY_SECONDS)
        await fleet.until(fleet.runs, TIDY_SECONDS)
        await fleet.tidy()
        first = (await fleet.migration()).course.state
        await fleet.begin()
        await fleet.until(fleet.ended, REACHED_SECONDS)
        assert (await fleet.migration()).course.state is MigrationState.DONE, await fleet.told("a second try failed")
        await fleet.tidy()
    finally:
        await world.close()
    world.witness.verdict()
    return first
