"""The verdict before a live move: a model of pre-copy over what was measured, corrected by how earlier moves really went. Pure.

The model. Memory that is in use (M) is sent at the line's rate (B); in t seconds the guest dirties W (1 - e^(-D t / W)), where D is its dirty rate and W its
working set: writes to a page that is dirty already cost nothing. Each round sends what the one before has left, until that takes no longer
than the downtime allowed. (Clark et al., Live Migration of Virtual Machines, NSDI 2005, with the saturating write set that page sampling shows.)

The correction. The rate at rest is not the rate during a move, and emulation costs what it costs; so the median ratio of outcome to forecast over the last
moves (of this VM's, else of this pair of hosts, else of all) multiplies the next forecast. What passes before and after the sending is no matter of ratios: it is
taken from the last moves between the two hosts, and added.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from houyi.model.errors import Problem
from houyi.model.migration import Forecast, MoveMode, Outcome, Terms
from houyi.model.vm import MigrationPolicy
from houyi.planning.migration.steer import FIRST_DOWNTIME_SHARE, HANDOVER_MS, SHRINKS, limit_ms

ROUNDS_MAX = 30
"""The model's; real moves are steered long before."""
HISTORY = 10
"""Outcomes that a correction is made of: enough for a median that one bad move does not sway, few enough to follow a change."""
CORRECTION_MAX = 8.0
"""And its inverse: a ratio beyond it tells of an accident, not of the model."""
SETUP_SECONDS = 0.5
"""Preparing, TLS and the confirmation, on a quiet machine, before any move has told."""
SENDING_LEAST_SECONDS = 0.05
"""What is foretold of an idle guest is shorter than can be measured: ratios below it would be of noise."""
ZSTD_RATIO = 2.5
"""How much smaller zstd makes guest memory of ordinary programs, before a move of this guest has told."""
PACKED_MIB_S = 600.0
"""Of memory that QEMU's channels compress (zstd's first level, two CPUs' worth), before a move has told: on a faster line, compressing makes a move longer."""
WORTH = 0.8
"""Of the time of a simpler way: a way that costs the hosts more CPU has to be faster by a fifth to be taken for that alone."""
THROTTLES = (0.3, 0.6, 0.8)
"""As the rungs of planning.migration.steer come to."""
SLOWED_AFTER_SECONDS = 2.0
"""From the rung until QEMU slows the guest: it looks at most once a second, and waits for a second look that says the same."""
UNNOTICED = frozenset({MoveMode.PLAIN, MoveMode.MULTIFD, MoveMode.COMPRESSED})
"""Ways that differ in what they cost the hosts, not the guest."""
CHANNELS = 4
"""Connections of a multifd move: beyond the number of spare CPUs they only share them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The way between two hosts, MiB/s; 0: not measured."""

    one_mib_s: float = 0.0
    """Through one encrypted connection: a CPU's worth of work at most."""
    all_mib_s: float = 0.0
    """Through several."""
    assumed: bool = False
    """It was not measured yet."""
    packed_mib_s: float = PACKED_MIB_S
    """At most so much memory goes through compressed: what the hosts' CPUs can do."""
    setup_seconds: float = SETUP_SECONDS
    """What a move takes besides sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a guest and its way."""

    memory_mib: float
    """In use: pages never touched are not sent."""
    dirty_mib_s: float
    """The 95th percentile of its samples."""
    writes_mib: float = 0.0
    """Its working set for writing; 0: not known, then all that it uses."""
    disk_mib: float = 0.0
    """Allocated on a local disk, to be copied."""
    line: Line = field(default_factory=Line)
    samples: int = 0
    """How many the dirty rate rests on."""
    vcpus: int = 1
    smaller: float = ZSTD_RATIO
    """By how much its memory can be compressed."""
    paused: bool = False
    """By its user: it writes nothing, and does not stand still because of the move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Outcome / forecast, as medians; 1 where nothing is known."""

    seconds: float = 1.0
    """Of the sending alone."""
    downtime: float = 1.0
    sent: float = 1.0
    moves: int = 0
    modes: "Mapping[MoveMode, Correction]" = field(default_factory=dict)
    """Of those moves that were foretold to go this way, where they are enough to say something of their own."""
    disproved: frozenset[MoveMode] = frozenset()
    """Ways that were tried with this guest and did not converge, whatever the model says."""


def correction(history: Sequence[tuple[Forecast, Outcome]]) -> Correction:
    """:param history: the newest last; forecasts as they were given (their own correction is undone, so that corrections do not pile up)."""
    used = [(told, came) for told, came in history if told.total_seconds > 0 and came.total_seconds > 0][-HISTORY:]
    if not used:
        return Correction()
    return Correction(
        seconds=_ratio([_sending(came.total_seconds, told) / _raw(told, "seconds", _sending(told.total_seconds, told)) for told, came in used]),
        downtime=_ratio([came.gap_ms / _raw(told, "downtime", told.downtime_ms) for told, came in used if came.gap_ms > 0 and told.downtime_ms > 0]),
        sent=_ratio([came.sent_mib / _raw(told, "sent", told.sent_mib) for told, came in used if came.sent_mib > 0 and told.sent_mib > 0]),
        moves=len(used),
    )


def _sending(seconds: float, told: Forecast) -> float:
    """Of so many in all."""
    return max(SENDING_LEAST_SECONDS, seconds - told.inputs.get("setup_seconds", 0.0))


def _raw(told: Forecast, name: str, value: float) -> float:
    return value / told.inputs.get(f"correction_{name}", 1.0)


def _ratio(ratios: Sequence[float]) -> float:
    return min(CORRECTION_MAX, max(1 / CORRECTION_MAX, median(ratios))) if ratios else 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """What the model says of one mode."""

    converges: bool
    seconds: float
    stop_ms: float
    sent_mib: float
    rounds: int


def precopy(measured: Measured, bandwidth_mib_s: float, downtime_ms: float, *, slowed: float = 0.0, compressed: bool = False) -> Course:
    """The rounds of a pre-copy, until what remains takes no longer than the downtime or shrinks no more (as steering finds).

    :param slowed: share of the guest's time that throttling takes once it was found to be needed.
    """
    smaller = measured.smaller if compressed else 1.0
    rate = min(bandwidth_mib_s * smaller, measured.line.packed_mib_s) if compressed else bandwidth_mib_s
    left, seconds, sent = measured.memory_mib, measured.disk_mib / bandwidth_mib_s, measured.disk_mib
    least, slowed_from = math.inf, math.inf
    for number in range(1, ROUNDS_MAX + 1):
        takes = left / rate
        if number > 1 and takes * 1000 <= downtime_ms:
            return Course(True, seconds + takes, takes * 1000, sent + left / smaller, number)
        seconds, sent = seconds + takes, sent + left / smaller
        left = _dirtied(measured, takes, slowed if seconds >= slowed_from else 0.0)
        if number > 1 and left > SHRINKS * least and slowed_from == math.inf:
            if not slowed:
                break
            slowed_from = seconds + SLOWED_AFTER_SECONDS
        elif seconds >= slowed_from and left > least:  # slowed, and still no less
            break
        least = min(least, left)
    takes = left / rate
    return Course(takes * 1000 <= downtime_ms, seconds + takes, takes * 1000, sent + left / smaller, ROUNDS_MAX)


def _dirtied(measured: Measured, seconds: float, slowed: float = 0.0) -> float:
    """MiB, in so many seconds: a page that is dirty already is not dirtied again."""
    writes = min(measured.writes_mib or measured.memory_mib, measured.memory_mib)
    dirty = measured.dirty_mib_s * (1 - slowed)
    return writes * (1 - math.exp(-dirty * seconds / writes)) if dirty > 0 and writes > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Way:
    mode: MoveMode
    course: Course
    why: str
    slowed: float = 0.0
    compressed: bool = False


def forecast(measured: Measured, terms: Terms, corrected: Correction, blockers: Sequence[Problem] = ()) -> Forecast:
    """The gentlest way that converges within the policy; if none does, the last that would be tried, and that it will not."""
    ways = _ways(measured, terms, limit_ms(terms) / max(1.0, corrected.downtime))
    way = _best([one for one in ways if one.course.converges and one.mode not in corrected.disproved], measured, terms) or ways[-1]
    corrected = replace(corrected.modes.get(way.mode, corrected), moves=corrected.moves)
    why = way.why if way.course.converges else f"{way.why}, and that is not enough: it would have to stop for {way.course.stop_ms:.0f} ms"
    rests = [f"{corrected.moves} earlier moves correct it" if corrected.moves else "no earlier move corrects it yet"]
    rests += ["the guest is paused"] if measured.paused else ["the guest's dirty rate is assumed"] if not measured.samples else []
    rests += ["the line is assumed"] if measured.line.assumed else []
    return Forecast(
        converges=way.course.converges,
        mode=way.mode,
        total_seconds=round(measured.line.setup_seconds + way.course.seconds * corrected.seconds, 2),
        downtime_ms=0.0 if measured.paused else round((HANDOVER_MS + way.course.stop_ms) * corrected.downtime, 1),
        sent_mib=round(way.course.sent_mib * corrected.sent, 1),
        why="; ".join((why, *rests)),
        blockers=tuple(blockers),
        inputs={
            "memory_mib": measured.memory_mib,
            "dirty_mib_s": measured.dirty_mib_s,
            "writes_mib": measured.writes_mib,
            "disk_mib": measured.disk_mib,
            "line_one_mib_s": measured.line.one_mib_s,
            "line_all_mib_s": measured.line.all_mib_s,
            "samples": float(measured.samples),
            "setup_seconds": measured.line.setup_seconds,
            "smaller": measured.smaller,
            "correction_seconds": corrected.seconds,
            "correction_downtime": corrected.downtime,
            "correction_sent": corrected.sent,
            "slowed_percent": 100 * way.slowed,
            "compressed": float(way.compressed),
        },
    )


def _best(ways: Sequence[_Way], measured: Measured, terms: Terms) -> _Way | None:
    """Of those that converge, the gentlest first. As long as the guest does not notice which it is, one that takes clearly less time is better.

    Several connections rule out post-copy for as long as the move lasts: where that is allowed, and the guest's dirty rate was only assumed, it is kept possible.
    """
    if not ways or terms.policy is not MigrationPolicy.AUTO or (terms.postcopy and not measured.samples):
        return ways[0] if ways else None
    best = ways[0]
    for way in ways[1:]:
        if way.mode in UNNOTICED and best.mode in UNNOTICED and _takes(way, measured) < WORTH * _takes(best, measured):
            best = replace(way, why=f"{way.why}, which is faster")
    return best


def _takes(way: _Way, measured: Measured) -> float:
    return measured.line.setup_seconds + way.course.seconds


def chosen(terms: Terms, told: Forecast) -> Terms:
    """The terms with what the forecast's mode needs from the start of the attempt on."""
    compressed = bool(told.inputs.get("compressed"))
    several = told.mode in (MoveMode.MULTIFD, MoveMode.COMPRESSED, MoveMode.THROTTLED)
    return replace(
        terms,
        channels=max(terms.channels, CHANNELS if several else 1),
        compressed=terms.compressed or compressed,
        slowed_percent=round(told.inputs.get("slowed_percent", 0.0)) if told.converges else 0,
    )


def _ways(measured: Measured, terms: Terms, budget_ms: float) -> list[_Way]:
    """What the policy may try, the gentlest first (for FAST: the fastest)."""
    one, several = (_capped(rate, terms) for rate in (measured.line.one_mib_s, max(measured.line.one_mib_s, measured.line.all_mib_s)))
    fast, gentle = terms.policy is MigrationPolicy.FAST, terms.policy is MigrationPolicy.GENTLE
    plain = f"the guest writes {measured.dirty_mib_s:.0f} MiB/s and one connection carries {one:.0f}"
    ways = [] if fast else [_Way(MoveMode.PLAIN, precopy(measured, one, budget_ms * FIRST_DOWNTIME_SHARE), plain)]
    ways.append(_Way(MoveMode.PLAIN, precopy(measured, one, budget_ms), f"{plain}: with its whole downtime budget"))
    if several > one:
        ways.append(_Way(MoveMode.MULTIFD, precopy(measured, several, budget_ms), f"{plain}: {CHANNELS} carry {several:.0f}"))
    if not fast:
        ways.append(_Way(MoveMode.COMPRESSED, precopy(measured, several, budget_ms, compressed=True), f"{plain}: compression makes it less", compressed=True))
    if terms.postcopy:
        ways.append(_Way(MoveMode.POSTCOPY, _postcopy(measured, several), f"{plain}: the rest of the memory follows the guest"))
    if not gentle:
        packs = measured.smaller * WORTH > 1
        for slowed in THROTTLES:
            says = f"{plain}: {'compressed, and ' if packs else ''}the guest slowed by up to {slowed:.0%}"
            ways.append(_Way(MoveMode.THROTTLED, precopy(measured, several, budget_ms, slowed=slowed, compressed=packs), says, slowed, packs))
    return sorted(ways, key=lambda way: way.course.seconds) if fast else ways


def _capped(rate: float, terms: Terms) -> float:
    return max(min(rate, terms.bandwidth_mib_s_max or rate), 0.001)


def _postcopy(measured: Measured, bandwidth_mib_s: float) -> Course:
    """One round, the switch, and what was dirtied meanwhile."""
    first = measured.memory_mib / bandwidth_mib_s
    left = _dirtied(measured, first)
    seconds = (measured.disk_mib + measured.memory_mib + left) / bandwidth_mib_s
    return Course(True, seconds, 0.0, measured.disk_mib + measured.memory_mib + left, 2)
