"""What comes next for a move: `decide` looks at one migration and says its state, what each end is told, and what has to be written. Pure.

The states are drawn in model/migration.py. Time-outs only ever cancel what can still be cancelled; nothing is resumed, started or destroyed
because time has passed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.migration import (
    End,
    Migration,
    MigrationCourse,
    MigrationKind,
    MigrationState,
    MoveMode,
    Order,
    Outcome,
    Presence,
)
from houyi.planning.migration.whereabouts import Place, whereabouts

PREPARE_SECONDS = 900.0
"""Preparing may fetch an image of many GiB first; what takes longer is stuck."""
MOVES_PER_HOST = 2
"""More at once share the same line and each takes longer, its guest dirtying memory all the while; two keep the line busy."""

COLD_SECONDS_MAX = 86400.0
"""A stopped VM's disk is copied as long as it takes, and nobody waits for it; what takes more than a day is stuck."""

_VAGUE = frozenset({"migration_failed", "door_lost"})
"""Codes of a failure as the source's end of a broken connection sees it."""

CANCELLED = "migration_cancelled"
"""The problem of a move that ended because somebody asked for it."""

_S = MigrationState
_UNDER_WAY = frozenset({_S.PREPARING, _S.MOVING, _S.UNKNOWN})
_COMMITTED: Mapping[End, Order] = {End.SOURCE: Order.CLEAN, End.DESTINATION: Order.TAKE}
_ABORTED: Mapping[End, Order] = {End.SOURCE: Order.RELEASE, End.DESTINATION: Order.WITHDRAW}


class Act(StrEnum):
    """What is written beside the course, in the same transaction."""

    NOTHING = "nothing"
    COMMIT = "commit"
    """The VM's home becomes the destination, at the landing's epoch."""
    DROP = "drop"
    """The landing claim is given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    course: MigrationCourse
    act: Act = Act.NOTHING


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many moves are under way, by host (either end) and by pair (source, destination)."""

    hosts: Mapping[HostId, int] = field(default_factory=dict)
    pairs: Mapping[tuple[HostId, HostId], int] = field(default_factory=dict)

    @staticmethod
    def of(migrations: Iterable[Migration]) -> "Traffic":
        hosts: dict[HostId, int] = {}
        pairs: dict[tuple[HostId, HostId], int] = {}
        for one in migrations:
            if one.course.state in _UNDER_WAY:
                for host in (one.source_id, one.destination_id):
                    hosts[host] = hosts.get(host, 0) + 1
                pair = (one.source_id, one.destination_id)
                pairs[pair] = pairs.get(pair, 0) + 1
        return Traffic(hosts, pairs)


def in_turn(migrations: Iterable[Migration]) -> list[Migration]:
    """The order in which to decide: those under way first, then by priority, then by age."""
    return sorted(migrations, key=lambda one: (one.course.state is _S.QUEUED, -one.spec.priority, one.created_at, one.id))


def decide(migration: Migration, traffic: Traffic, now: float) -> Decision:
    """The next course; the same as before when there is nothing to do. :param now: Unix seconds of the server's clock."""
    match migration.course.state:
        case MigrationState.QUEUED:
            return _queued(migration, traffic, now)
        case MigrationState.PREPARING:
            return _preparing(migration, now)
        case MigrationState.MOVING | MigrationState.UNKNOWN:
            return _moving(migration, now)
        case MigrationState.FINISHING:
            return _finishing(migration, now)
        case MigrationState.ABORTING:
            return _aborting(migration, now)
        case _:
            return Decision(course=migration.course)


def _queued(migration: Migration, traffic: Traffic, now: float) -> Decision:
    course = migration.course
    if migration.spec.cancelled:
        return Decision(course=replace(course, state=_S.CANCELLED, ended_at=now, why="cancelled before it began"), act=Act.DROP)
    if migration.gone:
        problem = Problem("host_removed", "a host of this move was removed from the platform before it began")
        return Decision(course=replace(course, state=_S.FAILED, ended_at=now, why=problem.detail, error=problem), act=Act.DROP)
    if why := _waits(migration, traffic):
        return Decision(course=replace(course, why=why))
    orders = {End.SOURCE: Order.STAND_BY, End.DESTINATION: Order.PREPARE}
    return Decision(course=replace(course, state=_S.PREPARING, orders=orders, why="", began_at=now))


def _waits(migration: Migration, traffic: Traffic) -> str:
    """Why it cannot begin yet; '' if it can."""
    if not (migration.source_heard and migration.destination_heard):
        return f"the {'destination' if migration.source_heard else 'source'} host is not heard of"
    if traffic.pairs.get((migration.source_id, migration.destination_id), 0):
        return "another VM moves between these hosts"
    if any(traffic.hosts.get(host, 0) >= MOVES_PER_HOST for host in (migration.source_id, migration.destination_id)):
        return f"a host takes part in at most {MOVES_PER_HOST} moves at once"
    return ""


def _preparing(migration: Migration, now: float) -> Decision:
    """Nothing has begun at the source, which MOVE alone allows; so whatever is wrong, it lives there."""
    source, destination = migration.source, migration.destination
    held = source is not None and source.order is Order.STAND_BY and not source.busy
    if problem := _unpreparable(migration, now, held=held):
        return _abort(migration, problem)
    if not (held and destination is not None and destination.order is Order.PREPARE and destination.ready):
        return Decision(course=migration.course)
    orders = {End.SOURCE: Order.MOVE, End.DESTINATION: Order.PREPARE}
    return Decision(course=replace(migration.course, state=_S.MOVING, orders=orders, moved_at=now))


def _unpreparable(migration: Migration, now: float, *, held: bool) -> Problem | None:
    if migration.spec.cancelled:
        return Problem(CANCELLED, "cancelled while it was being prepared")
    if migration.gone:
        return Problem("host_removed", f"the {_lost_end(migration)} host was removed as lost while the move was being prepared")
    for seen in (migration.source, migration.destination):
        if seen is not None and seen.error is not None:
            return seen.error
    live = migration.spec.kind is MigrationKind.LIVE
    if held and migration.source is not None and live is not (migration.source.presence is Presence.LIVE):
        return Problem("vm_changed", "the VM ended before it could be moved" if live else "the VM runs: a cold move is for stopped ones")
    if now - migration.course.began_at > PREPARE_SECONDS:
        return Problem("migration_slow", f"it could not be prepared within {PREPARE_SECONDS:g} s: look at both hosts")
    return None


def _moving(migration: Migration, now: float) -> Decision:
    found, course = whereabouts(migration), migration.course
    match found.place:
        case Place.DESTINATION:
            committed = replace(course, state=_S.FINISHING, orders=_COMMITTED, why=found.why, outcome=_outcome(migration, now))
            return Decision(course=committed, act=Act.COMMIT)
        case Place.SOURCE:
            return _abort(migration, _failure(migration, now))
        case Place.WITHDRAW_FIRST:
            return Decision(course=replace(course, state=_S.MOVING, orders={**course.orders, End.DESTINATION: Order.WITHDRAW}, why=found.why))
        case Place.RECOVER:
            return Decision(course=replace(course, state=_S.MOVING, orders={**course.orders, End.SOURCE: Order.RECOVER}, why=found.why))
        case Place.MOVING:
            stop = migration.spec.cancelled or bool(migration.gone) or now - course.moved_at > migration.spec.terms.seconds_max
            order = Order.CANCEL if stop else course.orders.get(End.SOURCE, Order.MOVE)
            return Decision(course=replace(course, state=_S.MOVING, orders={**course.orders, End.SOURCE: order}, why=""))
        case _:
            return Decision(course=replace(course, state=_S.UNKNOWN, why=found.why))


def _failure(migration: Migration, now: float) -> Problem:
    """Why a move that has ended at its source did."""
    if migration.spec.cancelled:
        return Problem(CANCELLED, "cancelled; the VM stays where it was")
    if migration.gone:
        half = migration.source is not None and migration.source.presence in (Presence.POSTCOPY, Presence.POSTCOPY_BROKEN)
        anew = ": half of the guest was there, so it begins anew from its disk as it was when it was switched over" if half else ""
        return Problem("host_removed", f"the {_lost_end(migration)} host was removed as lost in the middle of the move{anew}")
    if now - migration.course.moved_at > migration.spec.terms.seconds_max:
        return Problem("migration_slow", f"it did not converge within {migration.spec.terms.seconds_max:g} s; the VM stays where it was")
    told = migration.source.error if migration.source is not None else None
    return _clearer(told or Problem("migration_failed", "the move ended before it was complete; the VM stays where it was"), migration)


def _lost_end(migration: Migration) -> str:
    return "source" if migration.source_id in migration.gone else "destination"


def _clearer(problem: Problem, migration: Migration) -> Problem:
    """The source's libvirt often knows only that it failed; why, the destination knows, or the door that it was refused at."""
    destination = migration.destination
    knows = destination.error if destination is not None else None
    return knows if knows is not None and problem.code in _VAGUE else problem


def _abort(migration: Migration, problem: Problem) -> Decision:
    return Decision(course=replace(migration.course, state=_S.ABORTING, orders=_ABORTED, why=problem.detail, error=problem))


def _finishing(migration: Migration, now: float) -> Decision:
    source, destination = migration.source, migration.destination
    cleaned = migration.source_id in migration.gone or (source is not None and source.order is Order.CLEAN and source.clean)
    taken = migration.destination_id in migration.gone or (destination is not None and destination.order is Order.TAKE and not destination.busy)
    if not (cleaned and taken):
        return Decision(course=migration.course)
    told = source is not None and source.over and source.figures is not None  # its last words, which came after the commit
    outcome = _outcome(migration, now) if told else migration.course.outcome
    return Decision(course=replace(migration.course, state=_S.DONE, orders={}, ended_at=now, outcome=outcome))


def _aborting(migration: Migration, now: float) -> Decision:
    source, destination = migration.source, migration.destination
    withdrawn = migration.destination_id in migration.gone or (destination is not None and destination.order is Order.WITHDRAW and destination.clean)
    released = migration.source_id in migration.gone or (source is not None and source.order is Order.RELEASE and not source.busy)
    course = migration.course
    if course.error is not None and (error := _clearer(course.error, migration)) is not course.error:
        course = replace(course, why=error.detail, error=error)
    if not (withdrawn and released):
        return Decision(course=course)
    end = _S.CANCELLED if course.error is not None and course.error.code == CANCELLED else _S.FAILED
    return Decision(course=replace(course, state=end, orders={}, ended_at=now), act=Act.DROP)


def _outcome(migration: Migration, now: float) -> Outcome:
    """As far as it is known now: at the commit, and again at the end."""
    source, destination = migration.source, migration.destination
    figures = source.figures if source is not None else None
    cold = migration.spec.kind is MigrationKind.COLD
    mode = source.mode if source is not None else None
    return Outcome(
        total_seconds=figures.elapsed_seconds if figures is not None and figures.elapsed_seconds else now - migration.course.moved_at,
        downtime_ms=figures.downtime_ms if figures is not None else 0.0,
        gap_ms=max(seen.gap_ms for seen in (source, destination) if seen is not None) if source or destination else 0.0,
        sent_mib=figures.memory_sent_mib + figures.disk_sent_mib if figures is not None else 0.0,
        rounds=figures.rounds if figures is not None else 0,
        mode=mode or (MoveMode.COLD if cold else MoveMode.PLAIN),
        throttle_percent=figures.throttle_percent if figures is not None else 0,
    )
