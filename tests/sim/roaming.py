"""Guests that roam: lives of a whole fleet drawn from a seed, with moves, drains, partitions, crashes, words that come late and clocks that jump.

What must be true is asked after every step, of the machines (`Witness`) and of the store's claims (`check_claims`), never of what a migration says of itself.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from houyi.control.commands.host import drain_host, update_host_desired
from houyi.control.commands.migration import MigrationAsk, cancel_migration, migrate_vm
from houyi.host.sim.net import Phase
from houyi.model.errors import HouyiError
from houyi.model.ids import HostId, VmId
from houyi.model.vm import Vm
from houyi.store import tables
from houyi.store.views.host import get_host
from houyi.store.views.migration import open_migrations
from sim.faults import CROWD, DOUBLE, FAULTS, HANDOVER, WORDS, Ends, Fault
from sim.fleet import BROKEN_SECONDS, REACHED_SECONDS, TIDY_SECONDS, Fleet, Scene, heal, left_overs
from sim.schedule import Schedule, settled
from sim.world import Build, Machine, World

AMBUSHES = {**FAULTS, **DOUBLE, **WORDS, **CROWD, **HANDOVER}
HANDS = (Phase.LATE, Phase.FINISH, Phase.FINISHED, Phase.TOLD, Phase.CONFIRM)
"""Where the guest changes hands."""
SHARP = (
    "connection lost",
    "network black hole",
    "source isolated",
    "destination isolated",
    "source agent dies",
    "destination agent dies",
    "source libvirtd dies",
)
"""After which the two hosts know different things of it."""
BUILD = Build(hosts=3, servers=2, cpus=1, memory_mib=512 + 3 * 128, reconcile_seconds=4.0)
"""Three VMs fit on a host, four CPUs' worth with overcommit: room is scarce."""
EVENTS = 40
CALM_SECONDS = 100.0
"""After the last fault: what is under way ends."""


RAIDS = 4
PAUSES_SECONDS = (0.0, 0.0, 0.005, 0.012, 0.02, 0.05, 0.2)
"""After the beginning of a phase: a message from host to host takes 0.02 s."""


@dataclass(frozen=True)
class Hunt:
    """Where the faults of a raid are drawn from."""

    phases: Sequence[Phase] = (*HANDS, Phase.EARLY)
    faults: Sequence[str] = (*SHARP, *DOUBLE, *HANDOVER)


@dataclass
class Met:
    """The move that an ambush has met."""

    world: World
    source: Machine
    destination: Machine
    migration_id: str
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)


class Roaming(Schedule):
    """`run(events)`; afterwards everything that was broken is mended."""

    async def run(self, events: int) -> None:
        for _ in range(3):
            await self._create()
        await asyncio.sleep(20.0)
        acts = (self._raid, self._raid, self._raid, self._migrate, self._cancel, self._drain, self._break, self._user, self._guest, self._mend)
        for _ in range(events):
            await asyncio.sleep(self.chance.choice((0.0, 0.1, 1.0, 5.0, 20.0)))
            await self.chance.choice(acts)()
            await check_claims(self.world)
        for task in list(self._healing):
            await task
        self.world.net.watch = None
        await heal(self.world)
        self.world.tell("all is mended")

    async def _raid(self) -> None:
        """A move that will meet a fault."""
        self._ambush()
        await self._migrate()

    async def _vm(self) -> Vm | None:
        vms = [vm for vm in await self.world.vms() if not vm.desired.deleted] if self.world.up else []
        return self.chance.choice(vms) if vms else None

    async def _migrate(self) -> None:
        if (vm := await self._vm()) is None:
            return
        ask = MigrationAsk(to=self.chance.choice(["", *self.world.machines]), postcopy=self.chance.random() < 0.2)
        if ask.postcopy:
            self._write_much(vm.desired.id)
        try:
            migration, _ = await migrate_vm(self.world.control, self.world.ctx, vm.desired.id, ask)
        except HouyiError as refused:
            self.world.tell(f"migrate {vm.desired.name} refused: {refused.code}")
        else:
            self.world.tell(f"migrate {vm.desired.name} to {self._name(migration.destination_id)} postcopy={ask.postcopy}")

    def _write_much(self, vm_id: VmId) -> None:
        """Faster than the line carries: only post-copy ends it."""
        for machine in self.world.machines.values():
            if domain := machine.sim.domains.get(vm_id):
                domain.dirty_mib_s, domain.write_set_mib = 200.0, 100.0

    def _name(self, host_id: HostId) -> str:
        return next(name for name, machine in self.world.machines.items() if machine.host_id == host_id)

    async def _cancel(self) -> None:
        found = await self.world.store.read(open_migrations) if self.world.up else []
        if found:
            one = self.chance.choice(found)
            try:
                await cancel_migration(self.world.control, self.world.ctx, one.id)
                self.world.tell(f"cancel the move of {one.vm_name}")
            except HouyiError as refused:
                self.world.tell(f"cancel the move of {one.vm_name} refused: {refused.code}")

    async def _drain(self) -> None:
        if not self.world.up:
            return
        machine = self.chance.choice(list(self.world.machines.values()))
        try:
            if self.chance.random() < 0.5:
                await drain_host(self.world.control, self.world.ctx, machine.host_id)
                self.world.tell(f"drain {machine.name}")
            else:
                await end_drains(self.world)
        except HouyiError as refused:
            self.world.tell(f"drain {machine.name} refused: {refused.code}")

    def _ambush(self) -> None:
        """The next attempt that comes to a phase meets a fault there; half of them where the guest changes hands."""
        phase, name = self.chance.choice(list(Phase)), self.chance.choice(sorted(AMBUSHES))
        if self.chance.random() < 0.5:
            phase, name = self.chance.choice(HANDS), self.chance.choice(SHARP)
        world = self.world

        def watch(now: Phase, vm_id: VmId) -> None:
            if now is not phase:
                return
            world.net.watch = None
            job = next(job for machine in world.machines.values() if (job := machine.sim.jobs.get(vm_id)) is not None and not job.ended.done())
            source, destination = (world.machines[address] for address in (job.source.address, job.destination.address))
            world.tell(f"{name} at {phase.value} of {vm_id} from {source.name} to {destination.name}")
            doing = AMBUSHES[name](Met(world, source, destination, job.connection.road.move), vm_id)
            if doing is not None:
                self._soon(doing)
            self._heal(self._while(), lambda: heal(world))

        world.net.watch = watch

    async def _break(self) -> None:
        await self.chance.choice((self._fault, self._fault, self._silence))()

    async def _silence(self) -> None:
        one, other = self.chance.sample(list(self.world.machines), 2)
        self.world.tell(f"silence between {one} and {other}")
        self.world.net.silence(one, other)

    async def _mend(self) -> None:
        self.world.tell("mend")
        await heal(self.world)


async def end_drains(world: World) -> None:
    for machine in world.machines.values():
        host = await world.store.read(lambda c, host_id=machine.host_id: get_host(c, host_id))
        if host.drain_id is not None or host.cordoned:
            await update_host_desired(world.control, world.ctx, machine.host_id, cordoned=False)
            world.tell(f"uncordon {machine.name}")


async def check_claims(world: World) -> None:
    """Claims are where VMs are, and fit; from the rows themselves. :raise AssertionError: what is wrong."""
    world.witness.verdict()
    if not world.up:
        return
    claims = await world.store.read(lambda c: c.execute(select(tables.claim.c.id, tables.claim.c.vm_id, tables.claim.c.host_id, tables.claim.c.epoch)).all())
    amounts = await world.store.read(
        lambda c: c.execute(select(tables.claim.c.host_id, tables.claim_amount.c.resource, tables.claim_amount.c.amount).join(tables.claim_amount)).all()
    )
    held = {(row.vm_id, row.host_id, row.epoch) for row in claims}
    homes = Counter(row.vm_id for row in claims if row.id == row.vm_id)
    landings = Counter(row.vm_id for row in claims if row.id != row.vm_id)
    assert all(landings[vm_id] <= 1 for vm_id in landings), f"two landings: {landings}"
    assert landings.keys() <= homes.keys(), f"a landing without a home: {landings.keys() - homes.keys()}"
    taken: Counter[tuple[str, str]] = Counter()
    for row in amounts:
        taken[row.host_id, row.resource] += row.amount
    for machine in world.machines.values():
        facts, server = machine.sim.facts, world.settings.server
        room = {"memory_mib": facts.memory_mib - server.memory_reserved_mib, "vcpu": facts.cpus * server.vcpu_overcommit}
        for resource, limit in room.items():
            assert taken[machine.host_id, resource] <= limit, f"{machine.name} is oversubscribed: {taken[machine.host_id, resource]} of {limit} {resource}"
        executing = [(vm_id, domain) for vm_id, domain in machine.sim.domains.items() if domain.executes]
        for vm_id, domain in executing:
            assert (vm_id, machine.host_id, domain.vm.epoch) in held, f"VM {vm_id} executes on {machine.name} at epoch {domain.vm.epoch}, which no claim allows"
        assert sum(domain.vm.spec.memory_mib for _, domain in executing) <= room["memory_mib"], f"{machine.name} runs more than it has memory for"


async def raid(seed: int, folder: Path, build: Build | None = None, hunt: Hunt | None = None) -> World:
    """One VM that is moved again and again, each time into a fault, a moment after some phase has begun. :raise AssertionError: as `roam`."""
    world = World(seed, folder, build or Build())
    await world.open()
    fleet, chance, hunt = Fleet(world, Scene()), world.chance, hunt or Hunt()
    try:
        await fleet.create()
        for _ in range(RAIDS):
            phase, name, pause = chance.choice(hunt.phases), chance.choice(hunt.faults), chance.choice(PAUSES_SECONDS)
            world.tell(f"{name} {pause:g} s after {phase.value}")
            fleet.at(phase, _a_moment_later(pause, AMBUSHES[name]))
            await fleet.begin()
            await asyncio.sleep(chance.choice((15.0, BROKEN_SECONDS)))
            world.net.watch = None
            await heal(world)
            await fleet.until(fleet.ended, REACHED_SECONDS)
            world.tell(f"{(await fleet.migration()).course.state.value} on {fleet.source.name} to {fleet.destination.name}")
            await fleet.until(fleet.runs, TIDY_SECONDS)
            await fleet.tidy()
            await check_claims(world)
    except AssertionError as error:
        seen = "; ".join(world.witness.violations)  # what has to be read first: the rest follows from it
        raise AssertionError(again("raid", world, seen or error)) from error
    finally:
        await world.close()
    return world


def _a_moment_later(pause: float, fault: Fault) -> Fault:
    async def later(ends: Ends, vm_id: VmId) -> None:
        await asyncio.sleep(pause)
        if (doing := fault(ends, vm_id)) is not None:
            await doing

    return later


def again(kind: str, world: World, what: object) -> str:
    """Its story, and how to see it once more."""
    command = f"HOUYI_SIM_FIRST={world.seed} HOUYI_SIM_SEEDS=1 pytest tests/sim/test_roaming.py -k {kind}"
    return "\n".join([f"seed {world.seed}: {what}", f"again: {command}", *world.acts])


async def roam(seed: int, folder: Path, build: Build = BUILD, events: int = EVENTS) -> World:
    """Live through one seed. :raise AssertionError: something that must be true was not; its story, and how to see it again."""
    world = World(seed, folder, build)
    await world.open()
    schedule = Roaming(world)
    try:
        await schedule.run(events)
        await asyncio.sleep(60.0)
        for machine in world.machines.values():
            machine.sim._faults.clear()
        await end_drains(world)
        await asyncio.sleep(CALM_SECONDS)
        await check_claims(world)
        assert not await world.store.read(open_migrations), "a move has not ended"
        await schedule.last_wishes()
        await asyncio.sleep(CALM_SECONDS)
        await check_claims(world)
        await settled(world)
        left = await left_overs(world)
        assert not left, f"left: {left}"
    except AssertionError as error:
        raise AssertionError(again("roam", world, error)) from error
    finally:
        await world.close()
    world.witness.verdict()
    return world
