"""What a forecast rests on: earlier moves, and samples of the guest at rest, boiled down to planning.migration.forecast's inputs. Pure.

The line between two hosts is known from what went over it: every move tells how fast QEMU sent. What a guest writes is known from samples that its host
takes now and then while it does not move, else from its last move; what is known of neither is assumed, and said to be.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from houyi.model.ids import HostId
from houyi.model.migration import Figures, Forecast, Migration, MigrationKind, MigrationState, Outcome, Terms
from houyi.model.vm import LOCAL, Vm
from houyi.planning.migration.forecast import HISTORY, Correction, Line, Measured, correction, forecast

LINE_ASSUMED_MIB_S = 110.0
"""A gigabit: what the slowest line between two servers carries today. Too low a guess tells of a long move, too high a one of a downtime that is not kept."""
DIRTY_ASSUMED_MIB_S = 10.0
"""For each CPU: an ordinary server at work; an idle guest writes less than 1, a database under load 100 and more."""
FEW = 3
"""Fewer outcomes than this do not speak for a VM or for a pair of hosts: those of more moves say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Earlier moves, the newest last: read once for any number of forecasts."""

    moves: Sequence[Migration] = ()


def foretell(vm: Vm, source: HostId, destination: HostId, terms: Terms, known: Experience) -> Forecast:
    """The verdict on a live move of `vm` between these hosts."""
    line = line_between(source, destination, known)
    return forecast(measured(vm, line, known), terms, corrected(vm, source, destination, known))


def measured(vm: Vm, line: Line, known: Experience) -> Measured:
    spec = vm.desired.spec
    last = _last_figures(vm, known)  # what it sent is at least what it used: pages that were never touched are not sent
    disk = last.disk_total_mib if last is not None and spec.storage == LOCAL else 0.0
    seen = last is not None and last.dirty_mib_s > 0 and not last.throttle_percent
    return Measured(
        memory_mib=min(float(spec.memory_mib), last.memory_sent_mib if last is not None and last.memory_sent_mib else float(spec.memory_mib)),
        dirty_mib_s=last.dirty_mib_s if last is not None and seen else DIRTY_ASSUMED_MIB_S * spec.vcpus,
        disk_mib=disk,
        line=line,
        samples=1 if seen else 0,
        vcpus=spec.vcpus,
    )


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
    one = _rate(found, lambda channels: channels == 1)
    several = _rate(found, lambda channels: channels > 1)
    if not one and not several:
        return Line(one_mib_s=LINE_ASSUMED_MIB_S, all_mib_s=LINE_ASSUMED_MIB_S, assumed=True)
    return Line(one_mib_s=one or several, all_mib_s=several or one, assumed=not between)


def _rate(found: Sequence[tuple[Migration, Figures]], fits: Callable[[int], bool]) -> float:
    rates = [figures.bandwidth_mib_s for move, figures in found if fits(move.spec.terms.channels)]
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
            return correction(history)
    return correction(_history(iter(known.moves)))


def _history(moves: Iterator[Migration]) -> list[tuple[Forecast, Outcome]]:
    return [
        (move.forecast, move.course.outcome)
        for move in moves
        if move.course.state is MigrationState.DONE and move.spec.kind is MigrationKind.LIVE and move.forecast is not None and move.course.outcome is not None
    ]
