"""Steering: against a model of QEMU's rounds, every guest on every line comes to an end within a few rounds, by no stronger means than it needs."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.migration import Figures, Knobs, Terms
from houyi.model.vm import MigrationPolicy
from houyi.planning.migration.steer import HANDOVER_MS, LADDERS, ROUNDS_TO_SLOW, SLICE_MS, Steered, begin, limit_ms, may_throttle, slowest, start, steer
from unit.planning.qemu_model import Guest

AUTO, GENTLE, FAST = MigrationPolicy.AUTO, MigrationPolicy.GENTLE, MigrationPolicy.FAST


@dataclass
class Ride:
    guest: Guest
    turned: list[Knobs]
    stop: Problem | None


def ride(guest: Guest, terms: Terms, rounds: int = 60) -> Ride:
    guest.turn(begin(terms))
    memory, turned = start(terms), []
    for _ in range(rounds):
        figures = guest.round()
        if guest.done:
            return Ride(guest, turned, None)
        steering = steer(memory, figures, terms)
        memory = steering.memory
        if steering.stop is not None:
            return Ride(guest, turned, steering.stop)
        if steering.knobs is not None:
            turned.append(steering.knobs)
            guest.turn(steering.knobs)
    raise AssertionError(f"no end after {rounds} rounds: {guest}")


def calm(**more):
    return Guest(memory_mib=1024, dirty_mib_s=20, writes_mib=200, line_mib_s=1000, **more)


def busy(**more):
    """Writes half as fast again as the line carries, over a set that takes seconds to send."""
    return Guest(memory_mib=1024, dirty_mib_s=300, writes_mib=600, line_mib_s=200, **more)


def test_a_calm_guest_is_left_alone():
    found = ride(calm(), Terms())
    assert (found.turned, found.stop) == ([], None)
    assert found.guest.rounds <= 3


def test_one_that_needs_the_whole_budget_gets_it_and_no_more():
    found = ride(Guest(memory_mib=1024, dirty_mib_s=300, writes_mib=45, line_mib_s=200), Terms(downtime_ms_max=300))
    assert found.guest.downtime_ms == limit_ms(Terms(downtime_ms_max=300)) == 300 - HANDOVER_MS
    assert all(knobs.throttle_percent is None and not knobs.postcopy for knobs in found.turned)


def test_a_busy_one_is_recognised_in_the_second_round_and_slowed():
    found = ride(busy(), Terms())
    assert found.stop is None
    assert found.guest.throttle > 0
    assert found.guest.seconds < 4 * 1024 / 200


def test_postcopy_comes_before_throttling_where_it_is_allowed():
    found = ride(busy(), Terms(postcopy=True))
    assert found.guest.postcopy
    assert found.guest.throttle == 0
    assert found.guest.rounds <= 4


def test_fast_begins_with_the_whole_budget_and_skips_the_gentle_rungs():
    found = ride(busy(), Terms(policy=FAST))
    assert begin(Terms(policy=FAST)).downtime_ms == limit_ms(Terms())
    assert found.turned[0].throttle_percent >= 50
    assert found.guest.seconds < ride(busy(), Terms()).guest.seconds


def test_gentle_rather_gives_up_and_says_what_it_would_have_taken():
    found = ride(busy(), Terms(policy=GENTLE))
    assert found.stop is not None
    assert found.stop.code == "migration_diverges"
    assert "200 MiB/s" in found.stop.detail
    assert found.guest.rounds <= 3


def test_a_cap_is_kept():
    found = ride(busy(), Terms(bandwidth_mib_s_max=50))
    assert found.guest.cap_mib_s == 50


def test_between_rounds_nothing_is_decided():
    memory = Steered(round=3, least_mib=10.0)
    assert steer(memory, Figures(rounds=3, memory_remaining_mib=1000, bandwidth_mib_s=1, dirty_mib_s=1), Terms()).memory is memory


def test_once_post_copy_has_begun_nothing_is_decided():
    found = steer(Steered(), Figures(rounds=9, postcopy=True, memory_remaining_mib=1000, bandwidth_mib_s=1, dirty_mib_s=99), Terms(policy=GENTLE))
    assert found.stop is None


@pytest.mark.parametrize("policy", MigrationPolicy)
def test_whether_it_may_slow_is_told_before_it_begins(policy):
    throttles = any(rung.knobs(Terms(), Figures(dirty_mib_s=1)).throttle_percent for rung in LADDERS[policy])
    assert may_throttle(Terms(policy=policy)) is throttles


def test_a_rung_is_judged_once_qemu_does_what_it_was_told():
    """QEMU slows a guest rounds later than it was told: until then nothing more is climbed, and nothing is given up."""
    terms = Terms()
    memory = steer(Steered(round=1), Figures(rounds=2, memory_remaining_mib=500, bandwidth_mib_s=100, dirty_mib_s=100), terms).memory
    assert memory.slows > 0
    for number in range(3, 3 + ROUNDS_TO_SLOW - 2):
        found = steer(memory, Figures(rounds=number, memory_remaining_mib=500, bandwidth_mib_s=100, dirty_mib_s=100), terms)
        assert (found.knobs, found.stop) == (None, None)
        memory = found.memory
    seen = Figures(rounds=memory.round + 1, memory_remaining_mib=500, bandwidth_mib_s=100, dirty_mib_s=100, throttle_percent=memory.slows)
    assert steer(memory, seen, terms).knobs is None, "the round that has just ended was not a slowed one"


def test_one_that_qemu_never_slows_is_not_waited_for_for_ever():
    figures = [Figures(rounds=number, memory_remaining_mib=500, bandwidth_mib_s=100, dirty_mib_s=100) for number in range(1, 60)]
    memory, stopped = Steered(), None
    for one in figures:
        found = steer(memory, one, Terms())
        memory, stopped = found.memory, stopped or found.stop
    assert stopped is not None


def test_a_slowdown_that_was_foreseen_is_qemus_to_begin():
    terms = Terms(slowed_percent=60)
    assert (begin(terms).throttle_percent, start(terms).slows) == (60, 60)
    assert ride(busy(), terms).guest.seconds < ride(busy(), Terms()).guest.seconds
    gentle = Terms(policy=GENTLE, slowed_percent=60)
    assert (begin(gentle).throttle_percent, start(gentle).slows) == (0, 0)


@given(st.floats(30, 5000))
def test_a_slowed_guest_stands_still_for_less_than_its_budget_at_a_time(downtime_ms):
    percent = slowest(Terms(downtime_ms_max=downtime_ms))
    assert SLICE_MS * percent / (100 - percent) <= downtime_ms / 2 + 0.001


guests = st.builds(
    Guest,
    memory_mib=st.floats(64, 1 << 20),
    dirty_mib_s=st.floats(0, 20_000),
    writes_mib=st.floats(1, 1 << 20),
    line_mib_s=st.floats(1, 20_000),
)


@given(guests, st.sampled_from((AUTO, GENTLE, FAST)), st.booleans(), st.floats(30, 5000))
def test_every_ride_ends(guest, policy, postcopy, downtime_ms):
    """With the guest moved within its budget, or stopped with a reason; and within its policy."""
    terms = Terms(policy=policy, postcopy=postcopy, downtime_ms_max=downtime_ms)
    found = ride(guest, terms)
    assert found.stop is not None or guest.downtime_ms <= downtime_ms
    assert postcopy or not guest.postcopy
    assert policy is not GENTLE or guest.throttle == 0


@given(guests, st.floats(30, 5000))
def test_no_ride_is_slowed_that_converges_by_itself(guest, downtime_ms):
    """Where what is dirtied in a round is sent in less than three quarters of it, patience is enough."""
    guest.dirty_mib_s = min(guest.dirty_mib_s, 0.7 * guest.line_mib_s)
    assert ride(guest, Terms(downtime_ms_max=downtime_ms)).guest.throttle == 0
