"""What forecasts rest on: whose moves are looked at, what is assumed where nothing is known, and that a forecast becomes true after a few moves."""

import math
from dataclasses import replace
from typing import Any

import pytest

from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.line import LineAnswer, LineAsked, LineRates
from houyi.model.migration import End, Figures, GuestSample, Migration, MigrationKind, MigrationState, MoveMode, Order, Outcome, Presence, Terms
from houyi.model.vm import DesiredVm, Vm, VmState
from houyi.planning.migration.experience import (
    DIRTY_ASSUMED_MIB_S,
    FEW,
    LINE_ASSUMED_MIB_S,
    Experience,
    corrected,
    foretell,
    line_between,
    measured,
)
from houyi.planning.migration.forecast import PACKED_MIB_S, SETUP_SECONDS, ZSTD_RATIO, Forecast, Line
from made import a_vm, an_image, an_observation
from unit.planning.moves import move, seen

A, B, C = HostId("a"), HostId("b"), HostId("c")
NOTHING = Experience()


def vm(**values: Any) -> Vm:
    desired: DesiredVm = replace(a_vm(an_image(), **values), id=VmId("v"))
    return Vm(desired=desired, protected=False, host_id=A, observed=None, host_heard=True, created_at=1.0, revision=1)


def went(
    *,
    vm_id: str = "v",
    ends: tuple[HostId, HostId] = (A, B),
    told: Forecast | None = None,
    seconds: float = 0.0,
    kind: MigrationKind = MigrationKind.LIVE,
    state: MigrationState = MigrationState.DONE,
    terms: Terms | None = None,
    **figures: Any,
) -> Migration:
    """A move that has ended, with QEMU's last figures, and what was said of it and became of it."""
    one = move(state, kind=kind, terms=terms, source=seen(End.SOURCE, Presence.NONE, Order.CLEAN, figures=Figures(**figures)))
    outcome = Outcome(total_seconds=seconds, downtime_ms=10.0, gap_ms=20.0, sent_mib=1000.0, rounds=3, mode=MoveMode.PLAIN) if seconds else None
    return replace(one, vm_id=VmId(vm_id), source_id=ends[0], destination_id=ends[1], forecast=told, course=replace(one.course, outcome=outcome))


def expects(seconds: float) -> Forecast:
    return Forecast(converges=True, mode=MoveMode.PLAIN, total_seconds=seconds, downtime_ms=20.0, sent_mib=1000.0, why="")


class TestLine:
    def test_assumed_before_anything_moved(self) -> None:
        assert line_between(A, B, NOTHING) == Line(one_mib_s=LINE_ASSUMED_MIB_S, all_mib_s=LINE_ASSUMED_MIB_S, assumed=True)

    def test_as_moves_between_the_two_found_it_in_either_direction(self) -> None:
        known = Experience(moves=[went(bandwidth_mib_s=300.0), went(ends=(B, A), bandwidth_mib_s=500.0), went(ends=(A, C), bandwidth_mib_s=9.0)])
        assert line_between(A, B, known) == Line(one_mib_s=400.0, all_mib_s=400.0)

    def test_several_connections_are_another_matter(self) -> None:
        known = Experience(moves=[went(bandwidth_mib_s=200.0), went(bandwidth_mib_s=700.0, terms=Terms(channels=4))])
        assert line_between(A, B, known) == Line(one_mib_s=200.0, all_mib_s=700.0)

    def test_as_everybodys_between_strangers(self) -> None:
        assert line_between(B, C, Experience(moves=[went(bandwidth_mib_s=300.0)])) == Line(one_mib_s=300.0, all_mib_s=300.0, assumed=True)

    def test_as_it_was_measured_before_a_move_where_no_move_tells(self) -> None:
        def probed(one: Migration, **rates: float) -> Migration:
            assert one.source is not None
            return replace(one, source=replace(one.source, line=LineRates(**rates)))

        capped = Terms(bandwidth_mib_s_max=5.0)
        known = [probed(went(bandwidth_mib_s=5.0, terms=capped), one_mib_s=100.0, all_mib_s=300.0)]
        assert line_between(A, B, Experience(moves=known)) == Line(one_mib_s=100.0, all_mib_s=300.0)
        assert line_between(B, C, Experience(moves=known)) == Line(one_mib_s=100.0, all_mib_s=300.0, assumed=True)
        known.append(went(bandwidth_mib_s=180.0))
        assert line_between(A, B, Experience(moves=known)) == Line(one_mib_s=180.0, all_mib_s=300.0), "what QEMU did counts more"
        known.append(probed(went(ends=(A, C), terms=capped), one_mib_s=7.0, all_mib_s=7.0))
        assert line_between(A, B, Experience(moves=known)).all_mib_s == 300.0

    def test_what_passes_besides_sending(self) -> None:
        def took(seconds: float, **values: Any) -> Migration:
            return went(elapsed_seconds=seconds, bandwidth_mib_s=100.0, memory_sent_mib=150.0, disk_sent_mib=50.0, **values)

        assert line_between(A, B, NOTHING).setup_seconds == SETUP_SECONDS
        known = [took(3.0), took(3.5), took(3.2), took(9.0, throttle_percent=50), took(9.0, postcopy=True), took(9.0, state=MigrationState.FAILED)]
        assert line_between(B, A, Experience(moves=known)).setup_seconds == pytest.approx(1.2)
        assert line_between(B, C, Experience(moves=known)).setup_seconds == pytest.approx(1.2), "as everybody's, between strangers"
        assert line_between(A, B, Experience(moves=[took(1.0)])).setup_seconds == 0.0

    def test_how_fast_the_hosts_compress_where_that_held_up_the_line(self) -> None:
        several, packed = Terms(channels=4), Terms(channels=4, compressed=True)
        filled = [went(bandwidth_mib_s=700.0, terms=several), went(bandwidth_mib_s=690.0, smaller=3.0, terms=packed)]
        assert line_between(A, B, Experience(moves=filled)).packed_mib_s == PACKED_MIB_S
        held_up = [*filled, went(bandwidth_mib_s=100.0, smaller=3.0, terms=packed)]
        assert line_between(A, B, Experience(moves=held_up)) == Line(one_mib_s=700.0, all_mib_s=700.0, packed_mib_s=300.0)

    def test_as_it_was_measured_before_anything_moved(self) -> None:
        rates = LineRates(one_mib_s=100.0, all_mib_s=300.0)
        line = LineAsked(id=MigrationId("l"), source=A, destination=B, asked_at=1.0, open=False, answers={A: LineAnswer(id=MigrationId("l"), rates=rates)})
        for source, destination in ((A, B), (B, A)):
            assert line_between(source, destination, Experience(lines=[line])) == Line(one_mib_s=100.0, all_mib_s=300.0)
        assert line_between(B, C, Experience(lines=[line])).assumed
        assert line_between(A, B, Experience(lines=[line], moves=[went(bandwidth_mib_s=180.0)])).one_mib_s == 180.0, "what QEMU did counts more"
        assert line_between(A, B, Experience(lines=[replace(line, answers={})])).assumed

    @pytest.mark.parametrize(
        "one", [went(bandwidth_mib_s=5.0, terms=Terms(bandwidth_mib_s_max=5.0)), went(), went(kind=MigrationKind.COLD, bandwidth_mib_s=5.0)]
    )
    def test_what_says_nothing_of_the_line(self, one: Migration) -> None:
        assert line_between(A, B, Experience(moves=[one])).one_mib_s == LINE_ASSUMED_MIB_S


class TestGuest:
    def test_assumed_before_it_moved(self) -> None:
        found = measured(vm(vcpus=2, memory_mib=512), Line(), NOTHING)
        assert (found.memory_mib, found.dirty_mib_s, found.samples, found.vcpus) == (512.0, 2 * DIRTY_ASSUMED_MIB_S, 0, 2)

    def test_as_its_last_move_found_it(self) -> None:
        moves = [went(dirty_mib_s=99.0), went(dirty_mib_s=7.0, disk_total_mib=300.0, memory_sent_mib=100.0), went(vm_id="another", dirty_mib_s=1.0)]
        found = measured(vm(memory_mib=512), Line(), Experience(moves=moves))
        assert (found.dirty_mib_s, found.disk_mib, found.memory_mib, found.samples) == (7.0, 300.0, 100.0, 1)

    def test_a_guest_that_was_slowed_down_has_not_told_its_rate(self) -> None:
        assert measured(vm(), Line(), Experience(moves=[went(dirty_mib_s=1.0, throttle_percent=60)])).samples == 0

    def test_a_shared_disk_stays(self) -> None:
        assert measured(vm(spec={"storage": "nas"}), Line(), Experience(moves=[went(disk_total_mib=300.0)])).disk_mib == 0.0

    def test_as_samples_say_where_there_are_any(self) -> None:
        samples = [GuestSample(vm_id=VmId("v"), dirty_mib_s=float(rate), memory_mib=100.0 + rate, disk_mib=40.0) for rate in range(1, 41)]
        known = Experience(moves=[went(dirty_mib_s=900.0, disk_total_mib=9.0)], samples={VmId("v"): samples, VmId("w"): samples[:1]})
        found = measured(vm(memory_mib=512), Line(), known)
        assert (found.dirty_mib_s, found.samples, found.memory_mib, found.disk_mib) == (38.0, 40, 140.0, 40.0)
        assert measured(vm(memory_mib=64), Line(), known).memory_mib == 64.0, "never more than it has"

    def test_how_far_its_memory_is_compressed_as_its_own_moves_tell_else_everybodys(self) -> None:
        packed = Terms(channels=4, compressed=True)
        moves = [went(smaller=1.0), *(went(smaller=ratio, terms=packed) for ratio in (1.8, 1.9, 2.0)), went(smaller=0.9, vm_id="another", terms=packed)]
        assert measured(vm(), Line(), NOTHING).smaller == ZSTD_RATIO
        assert measured(vm(), Line(), Experience(moves=moves)).smaller == 1.9
        assert measured(vm(), Line(), Experience(moves=moves[-1:])).smaller == 1.0


def samples(**rates: float) -> Experience:
    """`s1=40.0`: 40 MiB/s over one second."""
    return Experience(samples={VmId("v"): [GuestSample(vm_id=VmId("v"), dirty_mib_s=rate, seconds=float(name[1:])) for name, rate in rates.items()]})

    def test_one_that_its_user_has_paused_writes_nothing_and_does_not_stand_still_for_a_move(self) -> None:
        running, samples = vm(), {VmId("v"): [GuestSample(vm_id=VmId("v"), dirty_mib_s=90.0, memory_mib=500.0)]}
        paused = replace(running, observed=an_observation(running.desired, VmState.PAUSED))
        known = Experience(samples=samples)
        assert measured(paused, Line(), known).dirty_mib_s == 0
        told = foretell(paused, A, B, Terms(), known)
        assert (told.converges, told.mode, told.downtime_ms) == (True, MoveMode.PLAIN, 0.0)
        assert "the guest is paused" in told.why
        resumed = replace(running, observed=an_observation(running.desired, VmState.RUNNING))
        assert foretell(resumed, A, B, Terms(), known).downtime_ms > 0


class TestWriting:
    @pytest.mark.parametrize(("dirty", "writes"), [(50.0, 100.0), (20.0, 60.0), (100.0, 90.0)])
    def test_two_spans_tell_rate_and_working_set(self, dirty: float, writes: float) -> None:
        rates = {f"s{span}": writes * (1 - math.exp(-dirty * span / writes)) / span for span in (1, 4)}
        found = measured(vm(memory_mib=512), Line(), samples(**rates))
        assert (found.dirty_mib_s, found.writes_mib) == (pytest.approx(dirty, rel=0.01), pytest.approx(writes, rel=0.01))

    def test_a_set_beyond_what_was_looked_at_is_not_known(self) -> None:
        found = measured(vm(memory_mib=512), Line(), samples(s1=10.0, s4=9.8))
        assert (found.dirty_mib_s, found.writes_mib) == (10.0, 0.0)

    def test_a_set_that_was_written_whole_within_the_shortest_look(self) -> None:
        found = measured(vm(memory_mib=512), Line(), samples(s1=64.0, s4=16.0))
        assert found.writes_mib == pytest.approx(64.0, rel=0.2)
        assert found.dirty_mib_s > 64.0

    @pytest.mark.parametrize("rates", [{"s1": 0.0, "s4": 0.0}, {"s1": 3.0, "s4": 0.0}, {"s1": 0.0, "s4": 5.0}, {"s4": 7.0}])
    def test_idle_and_odd(self, rates: dict[str, float]) -> None:
        found = measured(vm(), Line(), samples(**rates))
        assert (found.dirty_mib_s, found.writes_mib) == (min(rates.items())[1], 0.0)


class TestCorrection:
    def test_a_way_that_did_not_converge_is_not_foretold_again(self) -> None:
        busy = samples(s1=100.0, s4=90.0)
        first = foretell(vm(memory_mib=512), A, B, Terms(), busy)
        assert first.mode is MoveMode.COMPRESSED
        slowed = went(told=first, seconds=first.total_seconds)
        assert slowed.course.outcome is not None
        slowed = replace(slowed, course=replace(slowed.course, outcome=replace(slowed.course.outcome, mode=MoveMode.THROTTLED)))
        again = foretell(vm(memory_mib=512), A, B, Terms(), replace(busy, moves=[slowed]))
        assert again.mode is MoveMode.THROTTLED
        assert foretell(vm(memory_mib=512), A, B, Terms(), replace(busy, moves=[replace(slowed, vm_id=VmId("another"))])).mode is MoveMode.COMPRESSED
        calm = went(told=again, seconds=again.total_seconds)
        assert foretell(vm(memory_mib=512), A, B, Terms(), replace(busy, moves=[slowed, calm])).mode is MoveMode.COMPRESSED, "it came through unslowed since"

    def test_each_mode_has_its_own_once_it_has_enough(self) -> None:
        compressed = replace(expects(10.0), mode=MoveMode.COMPRESSED)
        known = Experience(moves=self.moves(2.0, 2 * FEW) + [went(told=compressed, seconds=50.0) for _ in range(FEW)])
        found = corrected(vm(), A, B, known)
        assert (found.seconds, found.modes[MoveMode.PLAIN].seconds, found.modes[MoveMode.COMPRESSED].seconds) == (2.0, 2.0, 5.0)
        assert MoveMode.THROTTLED not in found.modes

    @staticmethod
    def moves(ratio: float, number: int, **values: Any) -> list[Migration]:
        return [went(told=expects(10.0), seconds=10.0 * ratio, **values) for _ in range(number)]

    def test_none_from_nothing(self) -> None:
        assert corrected(vm(), A, B, NOTHING).moves == 0

    def test_its_own_moves_say_most(self) -> None:
        known = Experience(moves=self.moves(2.0, FEW) + self.moves(5.0, 9, vm_id="another"))
        assert corrected(vm(), A, B, known).seconds == pytest.approx(2.0)

    def test_then_those_between_the_two_hosts(self) -> None:
        known = Experience(moves=self.moves(2.0, FEW - 1) + self.moves(3.0, FEW, vm_id="x", ends=(B, A)) + self.moves(7.0, 9, vm_id="x", ends=(A, C)))
        assert corrected(vm(), A, B, known).seconds == pytest.approx(3.0)

    def test_then_everybodys(self) -> None:
        assert corrected(vm(), B, C, Experience(moves=self.moves(4.0, 1, vm_id="x"))).seconds == pytest.approx(4.0)

    def test_what_failed_or_was_cold_says_nothing(self) -> None:
        odd = self.moves(4.0, FEW, state=MigrationState.FAILED) + self.moves(4.0, FEW, kind=MigrationKind.COLD)
        assert corrected(vm(), A, B, Experience(moves=odd)).moves == 0


def test_forecasts_become_true() -> None:
    """A world that the model misjudges threefold: after ten moves the forecast is within a quarter of what comes."""
    known = Experience()
    for _ in range(10):
        told = foretell(vm(memory_mib=2048), A, B, Terms(), known)
        known = Experience(moves=[*known.moves, went(told=told, seconds=36.0, bandwidth_mib_s=150.0, dirty_mib_s=12.0, memory_sent_mib=1500.0)])
    told = foretell(vm(memory_mib=2048), A, B, Terms(), known)
    assert told.total_seconds == pytest.approx(36.0, rel=0.25)
    assert (told.converges, told.inputs["line_one_mib_s"]) == (True, 150.0)
