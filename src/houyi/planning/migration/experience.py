"""What a forecast rests on: earlier moves, and samples of the guest at rest, boiled down to planning.migration.forecast's inputs. Pure.

The line between two hosts is known from what went over it: every move tells how fast QEMU sent. What a guest writes is known from samples that its host
takes now and then while it does not move, else from its last move; what is known of neither is assumed, and said to be.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from statistics import median

from houyi.model.ids import HostId, VmId
from houyi.model.line import LineAsked, LineRates
from houyi.model.migration import Figures, Forecast, GuestSample, Migration, MigrationKind, MigrationState, MoveMode, Outcome, Terms
from houyi.model.vm import LOCAL, EffectiveState, Vm, effective
from houyi.planning.migration.forecast import HISTORY, PACKED_MIB_S, SETUP_SECONDS, ZSTD_RATIO, Correction, Line, Measured, correction, forecast

LINE_ASSUMED_MIB_S = 110.0
"""A gigabit: what the slowest line between two servers carries today. Too low a guess tells of a long move, too high a one of a downtime that is not kept."""
DIRTY_ASSUMED_MIB_S = 10.0
"""For each CPU: an ordinary server at work; an idle guest writes less than 1, a database under load 100 and more."""
RECENT = 12
"""Samples of which the largest use of memory counts: an hour's."""
UNSATURATED = 0.9
"""Of proportional growth with the span: beyond it, noise would invent a working set."""
SATURATION_MAX = 2.0
"""How often a guest is taken to write over its working set within the shortest span, if it has written to all of it by then: once is certain."""
UNFILLED = 0.8
"""Of what a line carries: a compressed move that sends less was held up by the compressing."""
SETUP_MAX_SECONDS = 10.0
"""What is more is not setting up."""
FEW = 3
"""Fewer outcomes than this do not speak for a VM or for a pair of hosts: those of more moves say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Earlier moves, the newest last, and samples: read once for any number of forecasts."""

    moves: Sequence[Migration] = ()
    samples: Mapping[VmId, Sequence[GuestSample]] = field(default_factory=dict)
    """Of guests at rest, the newest last."""
    lines: Sequence[LineAsked] = ()
    """Ways between hosts, as they were measured before anything moved."""


def foretell(vm: Vm, source: HostId, destination: HostId, terms: Terms, known: Experience) -> Forecast:
    """The verdict on a live move of `vm` between these hosts."""
    line = line_between(source, destination, known)
    return forecast(measured(vm, line, known), terms, corrected(vm, source, destination, known))


def measured(vm: Vm, line: Line, known: Experience) -> Measured:
    """Samples first: they are newer than the last move, and of the guest at its own pace."""
    spec, samples, last = vm.desired.spec, known.samples.get(vm.desired.id, ()), _last_figures(vm, known)
    # What a move sent is at least what was used: pages that were never touched are not sent.
    memory = max((one.memory_mib for one in samples[-RECENT:]), default=0.0) or (last.memory_sent_mib if last is not None else 0.0)
    disk = next((one.disk_mib for one in reversed(samples) if one.disk_mib), last.disk_total_mib if last is not None else 0.0)
    dirty, writes = _writing(samples)
    known_rate = bool(samples)
    if not samples and last is not None and last.dirty_mib_s > 0 and not last.throttle_percent:
        dirty, known_rate = last.dirty_mib_s, True
    paused = effective(vm) is EffectiveState.PAUSED
    if paused:
        dirty, known_rate = 0.0, True
    return Measured(
        memory_mib=min(float(spec.memory_mib), memory or float(spec.memory_mib)),
        dirty_mib_s=dirty if known_rate else DIRTY_ASSUMED_MIB_S * spec.vcpus,
        writes_mib=writes,
        disk_mib=disk if spec.storage == LOCAL else 0.0,
        line=line,
        samples=len(samples) or int(known_rate),
        vcpus=spec.vcpus,
        smaller=_smaller(vm, known),
        paused=paused,
    )


def _smaller(vm: Vm, known: Experience) -> float:
    """How far this guest's memory was compressed in its last moves, else everybody's."""
    packed = [(move.vm_id, figures.smaller) for move, figures in _figures(known) if move.spec.terms.compressed and figures.smaller and not figures.postcopy]
    own = [ratio for vm_id, ratio in packed if vm_id == vm.desired.id]
    found = own or [ratio for _, ratio in packed]
    return max(1.0, median(found[-HISTORY:])) if found else ZSTD_RATIO


def _writing(samples: Sequence[GuestSample]) -> tuple[float, float]:
    """The dirty rate at first (MiB/s) and the working set (MiB; 0: not known).

    In t seconds W (1 - e^(-D t / W)) is dirtied: what was seen over a short span and over a long one gives both. Where the long one has hardly fewer a second
    than the short, the working set is beyond what was looked at; where it has no more at all, the rate is beyond what can be told from a second.
    """
    spans = sorted({one.seconds for one in samples})
    if not spans:
        return 0.0, 0.0
    short, long = spans[0], spans[-1]
    few, many = (span * _high([one.dirty_mib_s for one in samples if one.seconds == span]) for span in (short, long))
    if short == long or many <= 0 or few <= 0 or many / few > UNSATURATED * long / short:
        return few / short, 0.0
    low, high = 0.0, SATURATION_MAX / short  # D / W
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if math.expm1(-middle * long) / math.expm1(-middle * short) > many / few else (low, middle)
    writes = few / -math.expm1(-high * short)
    return high * writes, writes


def _high(rates: Sequence[float]) -> float:
    """The 95th percentile: what the guest will hardly do more than while it moves."""
    return sorted(rates)[math.ceil(0.95 * len(rates)) - 1]


def _last_figures(vm: Vm, known: Experience) -> Figures | None:
    own = [figures for move, figures in _figures(known) if move.vm_id == vm.desired.id]
    return own[-1] if own else None


def _figures(known: Experience) -> Iterator[tuple[Migration, Figures]]:
    for move in known.moves:
        if move.spec.kind is MigrationKind.LIVE and move.source is not None and move.source.figures is not None:
            yield move, move.source.figures


def line_between(source: HostId, destination: HostId, known: Experience) -> Line:
    """As the last moves between the two found it, in either direction; else as all moves did; else assumed."""
    uncapped = [(move, figures) for move, figures in _figures(known) if figures.bandwidth_mib_s > 0 and not move.spec.terms.bandwidth_mib_s_max]
    between = [(move, figures) for move, figures in uncapped if {move.source_id, move.destination_id} == {source, destination}]
    found = between or uncapped
    one = _rate(found, lambda terms: terms.channels == 1)
    several = _rate(found, lambda terms: terms.channels > 1 and not terms.compressed)
    measured = _probed(known)
    ours = [rates for ends, rates in measured if ends == {source, destination}]
    probed = ours or [rates for _, rates in measured]
    if probed:  # what QEMU did is believed before what it may do
        one = one or median(line.one_mib_s for line in probed[-HISTORY:])
        several = several or max(one, median(line.all_mib_s for line in probed[-HISTORY:]))
    setup = _setup_seconds(source, destination, known)
    if not one and not several:
        return Line(one_mib_s=LINE_ASSUMED_MIB_S, all_mib_s=LINE_ASSUMED_MIB_S, assumed=True, setup_seconds=setup)
    several = several or one
    packed = [
        figures.bandwidth_mib_s * figures.smaller for move, figures in found if move.spec.terms.compressed and figures.bandwidth_mib_s < UNFILLED * several
    ]
    return Line(
        one_mib_s=one or several,
        all_mib_s=several,
        assumed=not between and not ours,
        packed_mib_s=median(packed[-HISTORY:]) if packed else PACKED_MIB_S,
        setup_seconds=setup,
    )


def _setup_seconds(source: HostId, destination: HostId, known: Experience) -> float:
    """What moves took that was not sending: of those between the two, else of all."""
    took = [
        (move, figures.elapsed_seconds - (figures.memory_sent_mib + figures.disk_sent_mib) / figures.bandwidth_mib_s)
        for move, figures in _figures(known)
        if move.course.state is MigrationState.DONE
        and figures.elapsed_seconds
        and figures.bandwidth_mib_s
        and not figures.throttle_percent
        and not figures.postcopy
    ]
    between = [seconds for move, seconds in took if {move.source_id, move.destination_id} == {source, destination}]
    found = between or [seconds for _, seconds in took]
    return min(SETUP_MAX_SECONDS, max(0.0, median(found[-HISTORY:]))) if found else SETUP_SECONDS


def _probed(known: Experience) -> list[tuple[frozenset[HostId], LineRates]]:
    """The newest last: moves tell what they found before they began, which is no older than what was found without one."""
    found = [(frozenset((one.source, one.destination)), one.rates) for one in known.lines if one.rates is not None]
    return found + [
        (frozenset((move.source_id, move.destination_id)), move.source.line) for move in known.moves if move.source is not None and move.source.line is not None
    ]


def _rate(found: Sequence[tuple[Migration, Figures]], fits: Callable[[Terms], bool]) -> float:
    rates = [figures.bandwidth_mib_s for move, figures in found if fits(move.spec.terms)]
    return median(rates[-HISTORY:]) if rates else 0.0


def corrected(vm: Vm, source: HostId, destination: HostId, known: Experience) -> Correction:
    """By this VM's own outcomes, else by this pair of hosts', else by everybody's."""
    tests: tuple[Callable[[Migration], bool], ...] = (
        lambda move: move.vm_id == vm.desired.id,
        lambda move: {move.source_id, move.destination_id} == {source, destination},
    )
    for fits in tests:
        history = _history(move for move in known.moves if fits(move))
        if len(history) >= FEW:
            break
    else:
        history = _history(iter(known.moves))
    by_mode = {mode: [(told, came) for told, came in history if told.mode is mode] for mode in MoveMode}
    modes = {mode: correction(own) for mode, own in by_mode.items() if len(own) >= FEW}
    return replace(correction(history), modes=modes, disproved=_disproved(vm, known))


def _disproved(vm: Vm, known: Experience) -> frozenset[MoveMode]:
    """Ways in which this VM was to move and then had to be slowed, in its last moves; one that did not have to be slowed ends that."""
    own = _history(move for move in known.moves if move.vm_id == vm.desired.id)
    slowed = takewhile(lambda one: one[1].mode is MoveMode.THROTTLED, reversed(own))
    return frozenset(told.mode for told, _ in slowed) - {MoveMode.THROTTLED}


def _history(moves: Iterator[Migration]) -> list[tuple[Forecast, Outcome]]:
    return [
        (move.forecast, move.course.outcome)
        for move in moves
        if move.course.state is MigrationState.DONE and move.spec.kind is MigrationKind.LIVE and move.forecast is not None and move.course.outcome is not None
    ]
