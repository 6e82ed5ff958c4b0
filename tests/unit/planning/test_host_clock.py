"""A host's clock is judged by the fastest of its words."""

import math

import pytest

from houyi.planning.host_clock import WINDOW_SECONDS, HostClock


@pytest.mark.parametrize("ahead", [-3600.0, -2.0, 0.0, 0.5, 3600.0])
def test_words_that_are_late_do_not_make_it_wrong(ahead: float) -> None:
    clock, found = HostClock(), None
    for number, late in enumerate((4.0, 0.01, 2.0, 30.0)):
        now = 1e6 + 5.0 * number
        found = clock.heard(now - late + ahead, now)
    assert found == pytest.approx(ahead - 0.01)


def test_one_that_is_set_back_is_found_out_after_a_minute_and_one_set_forward_at_once() -> None:
    clock = HostClock()
    assert clock.heard(1000.0, 1000.0) == 0.0
    assert clock.heard(1000.0 + WINDOW_SECONDS - 30.0, 1000.0 + WINDOW_SECONDS) == 0.0
    assert clock.heard(971.0 + WINDOW_SECONDS, 1001.0 + WINDOW_SECONDS) == -30.0
    assert clock.heard(1010.0 + WINDOW_SECONDS, 1002.0 + WINDOW_SECONDS) == 8.0


@pytest.mark.parametrize("said", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_what_is_no_time_is_not_known(said: float) -> None:
    assert HostClock().heard(said, 1000.0) is None


def test_it_keeps_little() -> None:
    clock = HostClock()
    for number in range(10_000):
        clock.heard(1000.0 + number, 1000.0 + number)
    assert len(clock._ahead) == 1
