"""Bugs on purpose: each is one part of the platform with one thing left out, in the place of the right one. What watches has to notice each of them.

They show what the watching is worth: a rule that no planted bug can break is not watched.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from houyi.agent.door import Way
from houyi.agent.rules import Rules
from houyi.host.sim.net import Phase
from houyi.model.ids import HostId, MigrationId
from houyi.model.migration import DesiredMove, End, Landing, Migration, MigrationState, Order, Presence
from houyi.model.vm import DesiredVm
from houyi.planning.lifecycle import Memory, Plan, Seen, plan
from houyi.planning.migration.course import Act, Decision, Traffic, decide
from houyi.planning.migration.ends import EndPlan, Here, MoveMemory, plan_end
from houyi.planning.migration.whereabouts import Place, whereabouts
from sim.between import SimDoor
from sim.roaming import Hunt
from sim.world import Build

PEEK_SECONDS = 0.005


class HastyDoor(SimDoor):
    """GO without proof: it is said as soon as the guest has arrived, whatever the source's libvirt knows of that."""

    @asynccontextmanager
    async def way(self, move: MigrationId, peer: HostId, landing: Landing) -> AsyncIterator[Way]:
        async with super().way(move, peer, landing) as way:
            peeking = asyncio.create_task(self._peek(landing, way))
            try:
                yield way
            finally:
                peeking.cancel()

    async def _peek(self, landing: Landing, way: Way) -> None:
        there = self.net.machines[landing.address]
        while not way.arrived.is_set():
            await asyncio.sleep(PEEK_SECONDS)
            if any(domain.move is Presence.INCOMING and not domain.transient for domain in there.domains.values()):
                way.arrived.set()


def plan_at_any_epoch(desired: DesiredVm, seen: Seen, memory: Memory, *, boot_id: str, now: float) -> Plan:
    """The epoch check removed: an order counts however old it is."""
    return plan(desired, replace(seen, epoch=min(seen.epoch, desired.epoch)), replace(memory, epoch=min(memory.epoch, desired.epoch)), boot_id=boot_id, now=now)


def plan_end_without_writing(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """WITHDRAW is not written down before what has come is destroyed, and not heeded once the guest went."""
    if move.order is not Order.WITHDRAW:
        return plan_end(move, here, memory)
    planned = plan_end(move, here, replace(memory, went=False, withdrawn=True))
    return replace(planned, memory=replace(planned.memory, went=memory.went, withdrawn=False))


def commit_without_testimony(migration: Migration, traffic: Traffic, now: float) -> Decision:
    """A host that is not heard of is taken for dead, and the other for the guest's home."""
    course = migration.course
    if course.state in (MigrationState.MOVING, MigrationState.UNKNOWN) and whereabouts(migration).place is Place.UNKNOWN and not migration.source_heard:
        orders = {End.SOURCE: Order.CLEAN, End.DESTINATION: Order.TAKE}
        return Decision(course=replace(course, state=MigrationState.FINISHING, orders=orders), act=Act.COMMIT)
    return decide(migration, traffic, now)


def release_without_withdrawal(migration: Migration, traffic: Traffic, now: float) -> Decision:
    """The source goes on with a guest that it had halted, though the destination has not said that its copy is gone."""
    course = migration.course
    if course.state in (MigrationState.MOVING, MigrationState.UNKNOWN) and whereabouts(migration).place in (Place.WITHDRAW_FIRST, Place.UNKNOWN):
        seen = migration.source
        if seen is not None and seen.over:
            orders = {End.SOURCE: Order.RELEASE, End.DESTINATION: Order.WITHDRAW}
            return Decision(course=replace(course, state=MigrationState.ABORTING, orders=orders))
    return decide(migration, traffic, now)


BUGS: Mapping[str, tuple[Build, Hunt]] = {
    "GO without proof": (Build(make_door=HastyDoor), Hunt((Phase.FINISHED,), ("connection lost", "connection lost, source unheard"))),
    "WITHDRAW is not written": (Build(rules=Rules(plan_end=plan_end_without_writing)), Hunt((Phase.CONFIRM,), ("source libvirtd blinks, destination slow",))),
    "commit without testimony": (Build(decide=commit_without_testimony), Hunt((Phase.EARLY, Phase.FINISHED), ("source isolated", "source unheard"))),
    "release before withdrawal": (
        Build(decide=release_without_withdrawal),
        Hunt((Phase.CONFIRM,), ("source libvirtd blinks, destination unheard", "source libvirtd blinks")),
    ),
}
"""Each with the faults that it shows itself under."""
