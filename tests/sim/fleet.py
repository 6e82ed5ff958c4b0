"""A fleet whose moves are broken on purpose: faults at a phase of an attempt, and what must be true all the time and in the end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from houyi.control.commands.migration import MigrationAsk, cancel_migration, migrate_vm
from houyi.control.commands.vm import pause_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.host.sim.net import Phase
from houyi.host.sim.state import forget_domain
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.migration import ENDED, Migration, MigrationState
from houyi.model.vm import LOCAL, EffectiveState, Power, RestartPolicy, Vm, effective
from houyi.store.tables import claim
from houyi.store.views.migration import get_migration
from sim.schedule import Machine, World, settled

LOOK_SECONDS = 0.05
"""Between two looks of the watchman: a second copy of a guest lives longer than that."""
BROKEN_SECONDS = 45.0
"""Longer than a silence is noticed, than a lease, and than GO is tried."""
TIDY_SECONDS = 60.0
"""After which nothing may be left, once all are heard again."""


@dataclass(eq=False)
class Watchman:
    """No guest executes twice. `check` raises AssertionError."""

    world: World
    story: list[str] = field(default_factory=list)

    def check(self) -> None:
        where: dict[VmId, list[str]] = {}
        for machine in self.world.machines.values():
            for vm_id, domain in machine.sim.domains.items():
                if domain.executes:
                    where.setdefault(vm_id, []).append(machine.name)
        for vm_id, names in where.items():
            assert len(names) == 1, f"VM {vm_id} executes on {names} at {self.world.clock.monotonic():.2f}"

    async def watch(self) -> None:
        while True:
            self.check()
            await asyncio.sleep(LOOK_SECONDS)


class Fleet:
    """A world with one VM that is to move from `source` to `destination`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: set[asyncio.Task[None]] = set()
        self.state = EffectiveState.RUNNING
        """In which the VM shall be."""

    async def create(self, name: str = "vm", **ask: object) -> None:
        whole = {"vcpus": 1, "memory_mib": 128, "disk_gib": 1, "restart_policy": RestartPolicy.ALWAYS, **ask}
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
        migration, _ = await migrate_vm(self.world.control, self.world.ctx, vm.desired.id, MigrationAsk())
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
        migration = await self.migration() if hasattr(self, "migration_id") else None
        lines = [what]
        if migration is not None:
            lines += [f"course {migration.course}", f"source {migration.source}", f"destination {migration.destination}"]
        lines += [f"{one.name}: {one.sim.domains}" for one in self.world.machines.values()]
        return "\n".join(lines)

    def at(self, phase: Phase, act: Callable[["Fleet", VmId], Awaitable[None] | None]) -> None:
        """Once, at the first attempt's phase."""

        def watch(now: Phase, vm_id: VmId) -> None:
            if now is phase:
                self.world.net.watch = None
                if (doing := act(self, vm_id)) is not None:
                    task = asyncio.ensure_future(doing)
                    self.tasks.add(task)  # type: ignore[arg-type]

        self.world.net.watch = watch

    async def heal(self) -> None:
        """Everything that was broken works again, and everybody that had died lives."""
        world = self.world
        world.net.heal()
        if not world.up:
            await world.start_server()
        for machine in world.machines.values():
            machine.reachable = True
            machine.sim.disk_full = machine.sim.memory_full = False
            if not machine.sim.connected:
                machine.sim.restore_libvirt()
            if not machine.alive:
                machine.start()

    async def tidy(self) -> None:
        """Nothing of the move is left, nowhere, and the VM runs where its claim is."""
        await settled(self.world)
        vm = await self.vm()
        ran = vm.desired.power is not Power.STOPPED
        for machine in self.world.machines.values():
            sim, here = machine.sim, machine.host_id == vm.host_id
            things = (("domain", bool(sim.domains), here and ran), ("disk", bool(sim.disks), here), ("seed", bool(sim.seeds), here))
            left = [kind for kind, found, wanted in things if found is not wanted and (found is not here or ran)]
            assert not left, await self.told(f"{machine.name}: {left} {'missing' if here else 'left'}")
            assert not self.world.net.doors(machine.name), f"{machine.name} has left its door open"
        assert set(self.world.storage.disks) == ({vm.desired.id} if vm.desired.spec.storage != LOCAL else set()), "what is shared is nobody's to remove"
        claims = await self.world.store.read(lambda c: c.execute(select(func.count(func.distinct(claim.c.id)))).scalar_one())
        assert claims == 1, f"{claims} claims for one VM"


# ------------------------------------------------------------------ faults


async def server_dies(fleet: Fleet, _vm_id: VmId) -> None:
    await fleet.world.kill_server()


async def source_agent_dies(fleet: Fleet, _vm_id: VmId) -> None:
    await fleet.source.kill()


async def destination_agent_dies(fleet: Fleet, _vm_id: VmId) -> None:
    await fleet.destination.kill()


def source_libvirtd_dies(fleet: Fleet, _vm_id: VmId) -> None:
    fleet.source.sim.lose_libvirt()


def destination_libvirtd_dies(fleet: Fleet, _vm_id: VmId) -> None:
    fleet.destination.sim.lose_libvirt()


def source_qemu_dies(fleet: Fleet, vm_id: VmId) -> None:
    if fleet.source.sim.running(vm_id):
        fleet.source.sim.kill_qemu(vm_id)


def destination_qemu_dies(fleet: Fleet, vm_id: VmId) -> None:
    _kill(fleet.destination, vm_id)


def _kill(machine: Machine, vm_id: VmId) -> None:
    """One that is still arriving goes with its process."""
    if domain := machine.sim.running(vm_id):
        if domain.transient:
            forget_domain(machine.sim, vm_id, domain)
        else:
            machine.sim.kill_qemu(vm_id)


def cut(fleet: Fleet, _vm_id: VmId) -> None:
    fleet.world.net.cut(fleet.source.name, fleet.destination.name)


def black_hole(fleet: Fleet, _vm_id: VmId) -> None:
    fleet.world.net.silence(fleet.source.name, fleet.destination.name)


def source_isolated(fleet: Fleet, vm_id: VmId) -> None:
    black_hole(fleet, vm_id)
    _alone(fleet.source)


def destination_isolated(fleet: Fleet, vm_id: VmId) -> None:
    black_hole(fleet, vm_id)
    _alone(fleet.destination)


def _alone(machine: Machine) -> None:
    machine.reachable = False
    machine.cut()


async def source_loses_power(fleet: Fleet, vm_id: VmId) -> None:
    cut(fleet, vm_id)
    await fleet.source.reboot()


async def destination_loses_power(fleet: Fleet, vm_id: VmId) -> None:
    cut(fleet, vm_id)
    await fleet.destination.reboot()


def destination_out_of_memory(fleet: Fleet, vm_id: VmId) -> None:
    """Also for a guest that is there already: the kernel kills it."""
    fleet.destination.sim.memory_full = True
    _kill(fleet.destination, vm_id)


def destination_disk_full(fleet: Fleet, _vm_id: VmId) -> None:
    fleet.destination.sim.disk_full = True


async def cancelled(fleet: Fleet, _vm_id: VmId) -> None:
    with contextlib.suppress(Conflict):  # it is where it shall be
        await cancel_migration(fleet.world.control, fleet.world.ctx, fleet.migration_id)


FAULTS: Mapping[str, Callable[[Fleet, VmId], Awaitable[None] | None]] = {
    "server dies": server_dies,
    "source agent dies": source_agent_dies,
    "destination agent dies": destination_agent_dies,
    "source libvirtd dies": source_libvirtd_dies,
    "destination libvirtd dies": destination_libvirtd_dies,
    "source QEMU dies": source_qemu_dies,
    "destination QEMU dies": destination_qemu_dies,
    "network cut": cut,
    "network black hole": black_hole,
    "source isolated": source_isolated,
    "destination isolated": destination_isolated,
    "source loses power": source_loses_power,
    "destination loses power": destination_loses_power,
    "destination out of memory": destination_out_of_memory,
    "destination disk full": destination_disk_full,
    "cancel": cancelled,
}


def go_without_proof(fleet: Fleet, vm_id: VmId) -> None:
    """A deliberate bug: GO is said when the destination has finished, before the source's libvirt has heard of it; and then it never hears of it."""
    connection, door = fleet.source.sim.jobs[vm_id].connection, fleet.destination.door
    assert door is not None
    door.enter(connection.road.move)
    connection.lose()
    _alone(fleet.source)  # else the server may have its halted copy removed before libvirt resumes it


async def live_through(
    folder: Path, phase: Phase, fault: Callable[[Fleet, VmId], Awaitable[None] | None], *, paused: bool = False, **spec: object
) -> MigrationState:
    """One cell of the matrix: the fault at the phase, the healing, and a second try. `paused`: by its user. `spec`: of the VM. :return: how the first ended. :raise AssertionError: ..."""
    world = World(0, folder)
    await world.open()
    fleet, watchman = Fleet(world), Watchman(world)
    watching = asyncio.create_task(watchman.watch())
    try:
        await fleet.create(**spec)
        if paused:
            await fleet.pause()
        fleet.at(phase, fault)
        await fleet.begin()
        await asyncio.sleep(BROKEN_SECONDS)
        assert world.net.watch is None, await fleet.told(f"it never came to {phase}")
        for task in fleet.tasks:
            task.result()
        await fleet.heal()
        await fleet.until(fleet.ended, TIDY_SECONDS)
        await fleet.until(fleet.runs, TIDY_SECONDS)
        await asyncio.sleep(5.0)
        await fleet.tidy()
        first = (await fleet.migration()).course.state
        await fleet.begin()
        await fleet.until(fleet.ended, TIDY_SECONDS)
        assert (await fleet.migration()).course.state is MigrationState.DONE, await fleet.told("a second try failed")
        await asyncio.sleep(5.0)
        await fleet.tidy()
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await world.close()
    return first
