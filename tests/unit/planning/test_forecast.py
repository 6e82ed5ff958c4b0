"""The verdict before a move: the model against a second one written another way, and how outcomes correct it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.migration import MoveMode, Outcome, Terms
from houyi.model.vm import MigrationPolicy
from houyi.planning.migration.forecast import CHANNELS, CORRECTION_MAX, SETUP_SECONDS, WORTH, Correction, Line, Measured, chosen, correction, forecast, precopy
from houyi.planning.migration.steer import HANDOVER_MS, begin
from unit.planning.qemu_model import Guest

LINE = Line(one_mib_s=200.0, all_mib_s=210.0)
CALM = Measured(memory_mib=1024, dirty_mib_s=10, writes_mib=100, line=LINE, samples=20, smaller=1.0)
FASTER = replace(LINE, all_mib_s=600.0, packed_mib_s=1500.0)
BUSY = replace(CALM, dirty_mib_s=2600, writes_mib=900, line=FASTER, smaller=2.5)


def told(measured=CALM, terms=Terms(), corrected=Correction(), **more):  # noqa: B008 - values
    return forecast(measured, terms, corrected, **more)


def came(seconds, gap_ms=100.0, sent_mib=1000.0):
    """Which had so many seconds to send."""
    return Outcome(total_seconds=SETUP_SECONDS + seconds, downtime_ms=gap_ms, gap_ms=gap_ms, sent_mib=sent_mib, rounds=3, mode=MoveMode.PLAIN)


class TestMode:
    def test_plain_for_the_calm(self):
        found = told()
        assert (found.converges, found.mode) == (True, MoveMode.PLAIN)
        assert found.total_seconds == pytest.approx(1024 / 200, rel=0.3)

    def test_several_connections_where_one_is_too_slow(self):
        assert told(replace(CALM, dirty_mib_s=250, writes_mib=400, line=FASTER)).mode is MoveMode.MULTIFD

    @pytest.mark.parametrize(
        ("changes", "mode"),
        [
            ({"line": FASTER}, MoveMode.MULTIFD),
            ({"line": replace(LINE, all_mib_s=220.0)}, MoveMode.PLAIN),
            ({"smaller": 2.0}, MoveMode.COMPRESSED),
            ({"smaller": 1.1}, MoveMode.PLAIN),
            ({"smaller": 3.0, "line": replace(LINE, packed_mib_s=220.0)}, MoveMode.PLAIN),
            ({"smaller": 3.0, "memory_mib": 4.0}, MoveMode.PLAIN),
        ],
        ids=["several connections", "hardly faster", "compressible", "hardly compressible", "the CPUs are too slow", "too little to gain"],
    )
    def test_a_way_that_costs_the_hosts_more_has_to_be_clearly_faster(self, changes, mode):
        measured = replace(CALM, **changes)
        found = told(measured)
        assert found.mode is mode
        if mode is not MoveMode.PLAIN:
            assert "which is faster" in found.why
            assert found.total_seconds < WORTH * told(CALM).total_seconds
            assert told(measured, Terms(policy=MigrationPolicy.GENTLE)).mode is MoveMode.PLAIN

    def test_post_copy_is_not_given_up_for_speed_while_the_guest_is_not_known(self):
        measured = replace(CALM, smaller=2.0)
        assert told(measured, Terms(postcopy=True)).mode is MoveMode.COMPRESSED
        assert told(replace(measured, samples=0), Terms(postcopy=True)).mode is MoveMode.PLAIN
        assert told(replace(measured, samples=0)).mode is MoveMode.COMPRESSED

    def test_throttled_if_nothing_gentler_is_enough(self):
        assert told(BUSY).mode is MoveMode.THROTTLED

    def test_postcopy_where_it_is_allowed(self):
        found = told(BUSY, Terms(postcopy=True))
        assert (found.converges, found.mode) == (True, MoveMode.POSTCOPY)

    def test_gentle_says_no_and_why(self):
        found = told(BUSY, Terms(policy=MigrationPolicy.GENTLE))
        assert not found.converges
        assert "it would have to stop for" in found.why

    def test_fast_takes_the_quickest(self):
        fast = told(terms=Terms(policy=MigrationPolicy.FAST), measured=replace(CALM, line=FASTER))
        assert (fast.mode, fast.total_seconds) == (MoveMode.MULTIFD, pytest.approx(SETUP_SECONDS + 1024 / 600, rel=0.1))

    def test_a_disk_is_part_of_it(self):
        assert told(replace(CALM, disk_mib=2000)).total_seconds - told().total_seconds == pytest.approx(10.0)  # 2000 MiB at 200

    def test_a_cap_bounds_the_line(self):
        assert told(terms=Terms(bandwidth_mib_s_max=20)).total_seconds > 50

    def test_says_what_it_assumes(self):
        found = told(replace(CALM, samples=0, line=replace(LINE, assumed=True)))
        assert "dirty rate is assumed" in found.why
        assert "line is assumed" in found.why

    def test_blockers_are_kept(self):
        blocker = Problem("no_capacity", "no host has room")
        assert told(blockers=[blocker]).blockers == (blocker,)

    def test_what_the_mode_needs_from_the_start(self):
        assert chosen(Terms(), told(replace(CALM, smaller=2.0))) == Terms(channels=CHANNELS, compressed=True)
        assert chosen(Terms(), told(replace(CALM, line=FASTER))) == Terms(channels=CHANNELS)
        assert chosen(Terms(), told()) == Terms()

    def test_slowing_that_is_foreseen_is_told_at_the_start(self):
        found = told(BUSY)
        assert (found.mode, chosen(Terms(), found)) == (MoveMode.THROTTLED, Terms(channels=CHANNELS, compressed=True, slowed_percent=30))
        assert chosen(Terms(), replace(found, converges=False)).slowed_percent == 0

    def test_what_cannot_be_compressed_is_slowed_without(self):
        found = told(replace(BUSY, dirty_mib_s=1000, smaller=1.1))
        assert (found.mode, chosen(Terms(), found).compressed, "compressed" in found.why) == (MoveMode.THROTTLED, False, False)

    def test_a_guest_never_stands_still_for_no_time(self):
        assert told(replace(CALM, dirty_mib_s=0)).downtime_ms >= HANDOVER_MS

    def test_what_was_disproved_is_passed_over(self):
        busy = replace(CALM, dirty_mib_s=250, writes_mib=400, line=FASTER, smaller=2.5)
        assert told(busy, corrected=Correction(disproved=frozenset({MoveMode.MULTIFD}))).mode is MoveMode.COMPRESSED


class TestCorrection:
    def test_nothing_known(self):
        assert correction([]) == Correction()

    def test_the_median_is_believed(self):
        one = told()
        sending = one.total_seconds - SETUP_SECONDS
        history = [(one, came(sending * ratio)) for ratio in (1.9, 2.0, 2.1, 50.0)]
        assert correction(history).seconds == pytest.approx(2.05)

    def test_only_the_newest_count(self):
        one = told()
        sending = one.total_seconds - SETUP_SECONDS
        history = [(one, came(sending * 5))] * 10 + [(one, came(sending * 2))] * 10
        assert correction(history).seconds == pytest.approx(2.0)

    def test_corrections_do_not_pile_up(self):
        """Moves that always take twice what the model says are foretold right, again and again."""
        history: list = []
        sending = told().total_seconds - SETUP_SECONDS
        for _ in range(30):
            one = told(corrected=correction(history))
            history.append((one, came(2 * sending)))
        assert history[-1][0].total_seconds == pytest.approx(SETUP_SECONDS + 2 * sending, rel=0.01)

    def test_what_is_not_sending_is_no_ratio(self):
        """An idle guest, of which the model expects nothing to send: that it took a second and a half in all does not make a busy one take as many times longer."""
        idle = told(replace(CALM, memory_mib=0.1, dirty_mib_s=0, line=replace(LINE, setup_seconds=1.5)))
        assert correction([(idle, replace(came(0), total_seconds=1.5))]).seconds == pytest.approx(1.0)

    def test_an_accident_is_bounded(self):
        assert correction([(told(), came(1e9))]).seconds == CORRECTION_MAX


measurements = st.builds(
    Measured,
    memory_mib=st.floats(64, 1 << 20),
    dirty_mib_s=st.floats(0, 20_000),
    writes_mib=st.floats(1, 1 << 20),
    disk_mib=st.floats(0, 1 << 20),
    line=st.builds(Line, one_mib_s=st.floats(1, 20_000), all_mib_s=st.floats(1, 20_000)),
    samples=st.integers(0, 100),
)


@given(measurements, st.sampled_from(MigrationPolicy), st.booleans())
def test_every_forecast_is_a_number(measured, policy, postcopy):
    found = told(measured, Terms(policy=policy, postcopy=postcopy))
    assert 0 < found.total_seconds < float("inf")
    assert 0 <= found.downtime_ms < float("inf")
    assert found.sent_mib >= measured.disk_mib * 0.99


@given(measurements, st.floats(30, 5000))
def test_the_model_agrees_with_rounds_played_one_by_one(measured, downtime_ms):
    bandwidth = measured.line.one_mib_s
    found = precopy(replace(measured, disk_mib=0), bandwidth, downtime_ms)
    if not found.converges or found.rounds > 20:
        return
    guest = Guest(
        memory_mib=measured.memory_mib, dirty_mib_s=measured.dirty_mib_s, writes_mib=min(measured.writes_mib, measured.memory_mib), line_mib_s=bandwidth
    )
    guest.turn(replace(begin(Terms()), downtime_ms=downtime_ms))
    while not guest.done:
        guest.round()
    assert found.seconds == pytest.approx(guest.seconds, rel=0.02)


def test_setup_is_the_least_that_any_takes():
    assert told(replace(CALM, memory_mib=0.001, dirty_mib_s=0)).total_seconds >= SETUP_SECONDS
