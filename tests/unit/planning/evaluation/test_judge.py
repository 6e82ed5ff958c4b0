"""What is said about places: no difference where there is none, a difference where there is one, nothing where too little was measured."""

import math
import random
from collections.abc import Sequence

import pytest

from houyi.model.evaluation import Better, Comparison, Measured, Sample, Standing
from houyi.planning.evaluation.judge import MATTERS, compare

PLACES = ("machine", "container", "vm")


def sample(benchmark: str, place: str, number: int, value: float | None) -> Sample:
    measured = None if value is None else Measured(value=value)
    return Sample(benchmark=benchmark, place=place, round=number, seconds=1.0, measured=measured, error="" if measured else "it failed")


def one(values: dict[str, Sequence[float | None]], better: Better = Better.MORE) -> dict[str, Comparison]:
    samples = [sample("b", place, number, value) for place, found in values.items() for number, value in enumerate(found, 1)]
    return {found.place: found for found in compare(samples, {"b": better}, list(values))}


def test_half_as_much_is_half_as_good() -> None:
    found = one({"machine": [100, 102, 98, 101, 99], "vm": [50, 51.5, 49, 50, 49.5]})["vm"]
    assert (found.reference, found.rounds, found.standing) == ("machine", 5, Standing.WORSE)
    assert found.ratio == pytest.approx(0.5, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.ratio < found.high < 0.55  # type: ignore[operator]


def test_half_the_time_is_twice_as_good() -> None:
    found = one({"machine": [10, 10.1, 9.9], "vm": [5, 5.05, 4.95]}, Better.LESS)["vm"]
    assert (found.ratio, found.standing) == (pytest.approx(2.0), Standing.BETTER)


def test_what_drifts_from_round_to_round_is_not_counted() -> None:
    """Ratios are of one round: a machine that gets ten times as slow meanwhile changes nothing."""
    drift = [1000, 700, 400, 200, 100]
    found = one({"machine": drift, "vm": [value * 0.8 * wobble for value, wobble in zip(drift, (1.01, 0.99, 1.0, 1.01, 0.99), strict=True)]})["vm"]
    assert (found.ratio, found.standing) == (pytest.approx(0.8, rel=0.01), Standing.WORSE)


def test_a_failed_run_is_in_no_figure() -> None:
    found = one({"machine": [100, 100, 100, 100], "container": [None] * 4, "vm": [50, None, 50.5, 49.5]})
    assert (found["container"].rounds, found["container"].ratio, found["container"].standing) == (0, None, Standing.UNKNOWN)
    assert (found["vm"].rounds, found["vm"].ratio) == (3, pytest.approx(0.5, rel=0.01))


def test_two_rounds_say_nothing() -> None:
    found = one({"machine": [100, 100], "vm": [1, 1]})["vm"]
    assert (found.ratio, found.low, found.high, found.standing) == (pytest.approx(0.01), None, None, Standing.UNKNOWN)


def test_figures_that_repeat_exactly() -> None:
    found = one({"machine": [7] * 4, "container": [7] * 4, "vm": [7 * (1 + MATTERS / 2)] * 4})
    assert {place: comparison.standing for place, comparison in found.items()} == dict.fromkeys(("container", "vm"), Standing.NO_DIFFERENCE)


def test_without_a_reference_nothing_is_compared() -> None:
    """A start of the machine is never measured."""
    found = one({"machine": [], "vm": [3, 3, 3]})["vm"]
    assert (found.rounds, found.ratio, found.p) == (0, None, 1.0)


def test_an_interval_beyond_numbers() -> None:
    found = one({"machine": [1e-300, 1e300, 1e-300], "vm": [1e300, 1e-300, 1e300]})["vm"]
    assert found.high is not None
    assert math.isfinite(found.high)


def noisy(order: random.Random, benchmarks: int, rounds: int, effect: float) -> list[Sample]:
    return [
        sample(f"b{number}", place, at, 100 * order.lognormvariate(0.0, 0.15) * (effect if place == "vm" else 1.0))
        for number in range(benchmarks)
        for at in range(1, rounds + 1)
        for place in PLACES
    ]


def test_a_placebo_is_called_different_in_fewer_than_one_report_in_twenty() -> None:
    order = random.Random(4)
    better = {f"b{number}": Better.LESS for number in range(8)}
    claims = [
        any(found.standing is not Standing.NO_DIFFERENCE for found in compare(noisy(order, 8, rounds, 1.0), better, PLACES))
        for rounds in (3, 5, 7)
        for _ in range(100)
    ]
    assert sum(claims) <= 15


def test_an_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    order = random.Random(5)
    better = {f"b{number}": Better.MORE for number in range(10)}
    found = [one for _ in range(60) for one in compare(noisy(order, 10, 5, 0.7), better, PLACES) if one.place == "vm"]
    held = sum(one.low <= 0.7 <= one.high for one in found if one.low is not None and one.high is not None)
    assert 0.92 <= held / len(found) <= 0.98


def test_a_large_effect_is_found_in_a_quick_run() -> None:
    order = random.Random(6)
    found = [
        one for _ in range(50) for one in compare(noisy(order, 4, 3, 0.02), dict.fromkeys(("b0", "b1", "b2", "b3"), Better.MORE), PLACES) if one.place == "vm"
    ]
    assert sum(one.standing is Standing.WORSE for one in found) > 0.8 * len(found)
