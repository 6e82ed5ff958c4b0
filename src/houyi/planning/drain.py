"""A host without VMs: where each of them would go, in which order, how long it takes, and what stands against it. Pure.

The plan is a promise of nothing: the drain's reconciler makes it anew each time it begins a move, on the fleet as it is then.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from houyi.model.errors import Problem
from houyi.model.host import Host
from houyi.model.ids import HostId, VmId
from houyi.model.migration import ENDED, Forecast, Migration, MigrationKind, MigrationState
from houyi.model.resources import MEMORY_MIB, VCPU, Amounts, in_words
from houyi.model.vm import Vm
from houyi.planning.migration.blockers import blockers, kind_of
from houyi.planning.migration.course import MOVES_PER_HOST
from houyi.planning.placement.choose import choose
from houyi.planning.placement.fleet import Fleet, Request
from houyi.planning.placement.numa import base_of

AHEAD = 2 * MOVES_PER_HOST
"""How many moves a drain has open at once: those under way, and as many that begin as soon as one of them has ended. More would go by a look at the fleet that is old."""
RETRY_SECONDS = 30.0
RETRY_SECONDS_MAX = 600.0

Foretell = Callable[[Vm, MigrationKind, HostId], Forecast | None]
"""What a move of a VM to a host would be; None: nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A VM of the host."""

    vm: Vm
    request: Request
    """As placement would be asked for it: its group among the rest."""
    held: Amounts
    """What it claims where it is, parts of NUMA nodes included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One VM's part of the plan."""

    vm_id: VmId
    vm_name: str
    kind: MigrationKind | None
    """None: in the state in which it is, it cannot be moved."""
    destination_id: HostId | None = None
    """None: it stays, for `problems`."""
    forecast: Forecast | None = None
    """None: it stays, or nothing is known of how long it takes."""
    begins_after: float = 0.0
    """Seconds from the drain's beginning, as far as it is known."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPlan:
    host_id: HostId
    departures: tuple[Departure, ...]
    """Those that go, in the order in which they go, then those that stay."""
    seconds: float
    """Until the last that goes has gone; moves of which nothing is known count as nothing."""
    left: Amounts
    """What is free on the other ready hosts in all, once it has been done: whether another host could fail then."""

    @property
    def going(self) -> tuple[Departure, ...]:
        return tuple(one for one in self.departures if one.destination_id is not None)

    @property
    def staying(self) -> tuple[Departure, ...]:
        return tuple(one for one in self.departures if one.destination_id is None)


def plan_drain(host: Host, guests: Iterable[Guest], fleet: Fleet, foretell: Foretell, *, packing: float = 0.0) -> DrainPlan:
    """:param guests: every VM whose home it is. :param fleet: all hosts; takes what is planned. :param packing: as `choose` has it."""
    going: list[Departure] = []
    staying: list[Departure] = []
    for guest in sorted(guests, key=_largest_first):
        departure = _departure(host, guest, fleet, foretell, packing)
        (staying if departure.destination_id is None else going).append(departure)
    timed, seconds = _timed(going)
    return DrainPlan(host_id=host.id, departures=(*timed, *staying), seconds=seconds, left=_left(host, fleet))


def _largest_first(guest: Guest) -> tuple[int, int, VmId]:
    """What is large finds room only while there is much; what is small fits into what is left (first-fit decreasing)."""
    return -guest.held.get(MEMORY_MIB, 0), -guest.held.get(VCPU, 0), guest.vm.desired.id


def _departure(host: Host, guest: Guest, fleet: Fleet, foretell: Foretell, packing: float) -> Departure:
    vm, kind = guest.vm, kind_of(guest.vm)
    stays = Departure(vm_id=vm.desired.id, vm_name=vm.desired.name, kind=kind)
    if problems := blockers(vm, host, None):
        return replace(stays, problems=problems)
    others = [other for other in fleet.hosts if other.id != host.id]
    against = {other.id: blockers(vm, host, other) for other in others}
    asked = {name: amount for name, amount in guest.held.items() if base_of(name) == name}
    request = replace(guest.request, asked=asked, among=frozenset(id for id, found in against.items() if not found))
    fleet.take(host.id, {}, request.group, members=-1)
    choice = choose(fleet, request, packing=packing)
    if choice.host_id is None:
        fleet.take(host.id, {}, request.group)
        return replace(stays, problems=_nowhere(others, against, choice.no_capacity))
    fleet.take(choice.host_id, choice.amounts, request.group)
    forecast = None if kind is None else foretell(vm, kind, choice.host_id)
    return replace(stays, destination_id=choice.host_id, forecast=forecast)


def _nowhere(others: Sequence[Host], against: Mapping[HostId, tuple[Problem, ...]], no_capacity: str) -> tuple[Problem, ...]:
    """What every host says, where each says it for a reason of its own; else that there is no room."""
    if others and all(against[one.id] for one in others):
        return tuple(problem for one in others for problem in against[one.id])
    return (Problem("no_capacity", no_capacity),)


def _timed(going: Sequence[Departure]) -> tuple[list[Departure], float]:
    """When each begins: as many at once as a host takes, one to each destination (planning.migration.course), in order.

    :return: in the order in which they begin; and when the last has ended.
    """
    waiting, timed = list(going), []
    under_way: list[tuple[float, int, HostId]] = []
    now = end = 0.0
    while waiting:
        busy = {destination for _, _, destination in under_way}
        ready = next((one for one in waiting if one.destination_id not in busy), None) if len(under_way) < MOVES_PER_HOST else None
        if ready is None or ready.destination_id is None:
            now, _, _ = heapq.heappop(under_way)
            continue
        waiting.remove(ready)
        timed.append(replace(ready, begins_after=now))
        ends = now + (ready.forecast.total_seconds if ready.forecast is not None else 0.0)
        heapq.heappush(under_way, (ends, len(timed), ready.destination_id))
        end = max(end, ends)
    return timed, end


def _left(host: Host, fleet: Fleet) -> Amounts:
    rows = [row for row, other in enumerate(fleet.hosts) if other.id != host.id and fleet.ready[row]]
    names = sorted({base_of(name) for other in fleet.hosts for name in other.capacity})
    return {name: sum(max(0, int(fleet.left(name)[row])) for row in rows) for name in names}


def in_short(plan: DrainPlan) -> str:
    """One sentence for people."""
    going, staying = len(plan.going), len(plan.staying)
    if not going and not staying:
        return "the host has no VMs"
    stays = f"; {staying} cannot" if staying else ""
    return f"{going} of {going + staying} VMs can move, in about {plan.seconds:.0f} s{stays}; left on the other hosts then: {in_words(plan.left) or 'nothing'}"


def due(plan: DrainPlan, moves: Sequence[Migration], now: float) -> list[Departure]:
    """Which moves to begin now. One that has failed waits for 30 s, then twice as long each time, and holds up no other.

    :param moves: every move of this drain. :param now: Unix seconds of the server's clock.
    """
    room = AHEAD - sum(one.course.state not in ENDED for one in moves)
    again = _again_at(moves)
    return [one for one in plan.going if again.get(one.vm_id, 0.0) <= now][: max(0, room)]


def _again_at(moves: Sequence[Migration]) -> dict[VmId, float]:
    """When a VM whose moves have failed is tried again: Unix seconds."""
    failed: dict[VmId, list[float]] = {}
    for one in moves:
        if one.course.state in (MigrationState.FAILED, MigrationState.CANCELLED):
            failed.setdefault(one.vm_id, []).append(one.course.ended_at)
    return {vm_id: max(ends) + min(RETRY_SECONDS * 2.0 ** (len(ends) - 1), RETRY_SECONDS_MAX) for vm_id, ends in failed.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a drain is."""

    done: bool
    progress: float
    """0..1."""
    stage: str
    blocked_on: str
    """'' while anything goes on. Names no VM: they are of many projects."""


def standing(plan: DrainPlan, moves: Sequence[Migration], *, empty: bool) -> Standing:
    """:param plan: of the VMs that are still there, those on their way among them. :param empty: whether nothing is claimed on the host any more."""
    if empty:
        return Standing(done=True, progress=1.0, stage=f"{_moved(moves)} moved, the host is empty", blocked_on="")
    moved, left = _moved(moves), len(plan.departures)
    under_way = sum(one.course.state not in ENDED for one in moves)
    stage = f"{moved} of {moved + left} moved, {under_way} under way"
    stays = [one for one in plan.staying if all(problem.code != "vm_migrating" for problem in one.problems)]
    waiting = len(_again_at(moves).keys() & {one.vm_id for one in plan.going})
    if waiting:
        stage += f", {waiting} to be tried again"
    blocked = "" if under_way or not stays else f"{len(stays)} cannot move ({', '.join(sorted({problem.code for one in stays for problem in one.problems}))})"
    return Standing(done=False, progress=moved / (moved + left) if left else 0.99, stage=stage, blocked_on=blocked)


def _moved(moves: Sequence[Migration]) -> int:
    return len({one.vm_id for one in moves if one.course.state is MigrationState.DONE})
