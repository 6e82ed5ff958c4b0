"""The verdict of a series, on data with everything that real ones have: drift, noise that lasts, outliers, skew, gaps."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from houyi.model.series import Arm, Judgement, Measure, Rules, Run, Verdict
from houyi.planning.tuning.series import BLOCKS_MIN, arm, judge, looks, runs_max
from houyi.planning.tuning.student import quantile, two_tails

MEASURES = (
    Measure(name="exits", less_is_better=True),
    Measure(name="exits:hlt", less_is_better=True),
    Measure(name="exits:msr", less_is_better=True),
    Measure(name="steal", less_is_better=True, matters=0.1),
    Measure(name="host_cpu", less_is_better=True),
    Measure(name="latency_p99", less_is_better=True, matters=0.1),
    Measure(name="work_done", less_is_better=False, matters=0.02),
)
RULES = Rules()
NOISE = {"exits": 0.03, "exits:hlt": 0.05, "exits:msr": 0.05, "steal": 0.25, "host_cpu": 0.02, "latency_p99": 0.15, "work_done": 0.015}
"""Standard deviation of the logarithm from run to run, about as on a host that others use as well."""


class Guest:
    """A guest under load, as a source of runs: lognormal noise that is autocorrelated (AR(1)), a drift over the series, a common shock and outliers."""

    def __init__(
        self, seed: int, effect: Mapping[str, float], noise: float = 1.0, correlation: float = 0.5, drift: float = 0.01, outliers: float = 0.03
    ) -> None:
        self._random = random.Random(seed)
        self._effect, self._noise, self._correlation, self._outliers = effect, noise, correlation, outliers
        self._drift = {name: self._random.gauss(0, drift) for name in NOISE}
        self._state = {name: self._random.gauss(0, 1) for name in NOISE}

    def run(self, number: int) -> Run:
        shock = self._random.uniform(0.2, 1.0) if self._random.random() < self._outliers else 0.0
        cold = 0.3 if number < 2 else 0.0
        common = self._random.gauss(0, 0.5)
        values = {}
        for measure in MEASURES:
            name = measure.name
            keep = self._correlation
            self._state[name] = keep * self._state[name] + math.sqrt(1 - keep**2) * self._random.gauss(0, 1)
            sign = 1 if measure.less_is_better else -1
            log = NOISE[name] * self._noise * (self._state[name] + common) + self._drift[name] * number + sign * (shock + cold)
            change = self._effect.get(name, 1.0) if arm(number) is Arm.AFTER else 1.0
            values[name] = 1000 * change * math.exp(log)
        return Run(arm=arm(number), values=values)


def series(guest: Callable[[int], Run], rules: Rules = RULES, measures: Sequence[Measure] = MEASURES) -> Judgement:
    """Run after run, until it is enough."""
    runs: list[Run] = []
    while True:
        runs.append(guest(len(runs)))
        said = judge(measures, runs, rules)
        if said.enough:
            return said
        assert len(runs) < runs_max(rules)


@pytest.mark.parametrize(
    "conditions",
    [{}, {"correlation": 0.9}, {"correlation": 0.0}, {"drift": 0.05}, {"outliers": 0.2}, {"noise": 3.0}, {"noise": 0.1, "outliers": 0.0, "drift": 0.001}],
    ids=str,
)
def test_a_placebo_comes_out_as_no_difference(conditions: Mapping[str, float]) -> None:
    said = [series(Guest(seed, {}, **conditions).run) for seed in range(100)]
    assert sum(one.verdict is Verdict.NO_DIFFERENCE for one in said) >= 95
    assert sum(one.keeps for one in said) <= 2


def test_an_effect_that_does_not_matter_is_no_difference() -> None:
    """However well it is known: every measure is 1 % better."""
    almost = {measure.name: 0.99 if measure.less_is_better else 1.01 for measure in MEASURES}
    said = [series(Guest(seed, almost, noise=0.1, outliers=0.0, drift=0.0).run) for seed in range(100)]
    assert sum(one.verdict is Verdict.NO_DIFFERENCE for one in said) >= 99
    assert all(one.effects[0].low > 0.95 and one.effects[0].high < 1.05 for one in said)


@pytest.mark.parametrize(("ratio", "found"), [(0.3, 99), (0.6, 97), (0.8, 80)])
def test_a_true_effect_is_found(ratio: float, found: int) -> None:
    said = [series(Guest(seed, {"exits": ratio, "exits:hlt": ratio}).run) for seed in range(100)]
    kept = [one for one in said if one.keeps]
    assert len(kept) >= found
    assert all(one.verdict is Verdict.BETTER and one.effects[0].high < 1 / 1.05 for one in kept)
    assert sum(one.effects[0].low <= ratio <= one.effects[0].high for one in said) >= 90


def test_a_large_effect_needs_fewer_runs() -> None:
    blocks = [series(Guest(seed, {"exits": 0.3}).run).blocks for seed in range(50)]
    assert sum(blocks) / len(blocks) < RULES.blocks_max - 1


def test_what_is_worse_is_refused() -> None:
    said = [series(Guest(seed, {"exits": 1.5, "work_done": 0.8}).run) for seed in range(100)]
    assert sum(one.verdict is Verdict.WORSE for one in said) >= 97
    assert not any(one.keeps for one in said)


def test_better_here_and_worse_there_is_mixed_and_not_kept() -> None:
    said = [series(Guest(seed, {"exits": 0.4, "host_cpu": 2.0}).run) for seed in range(100)]
    assert sum(one.verdict is Verdict.MIXED for one in said) >= 95
    assert not any(one.keeps for one in said)


def test_better_beside_the_main_measure_is_not_kept() -> None:
    said = [series(Guest(seed, {"host_cpu": 0.5}).run) for seed in range(50)]
    assert sum(one.verdict is Verdict.BETTER for one in said) >= 45
    assert sum(one.keeps for one in said) <= 2


def test_warm_up_counts_for_nothing() -> None:
    def run(number: int) -> Run:
        return Run(arm=arm(number), values={"exits": 1e6 if number < 2 else 100.0 + number % 2})

    effect = series(run, measures=MEASURES[:1]).effects[0]
    assert effect.before < 102
    assert effect.after < 102


def test_a_linear_drift_cancels() -> None:
    """Ten percent a run, and nothing else: the ratio is 1 to the last digit."""
    said = series(lambda number: Run(arm=arm(number), values={"exits": 100 * 1.1**number}), measures=MEASURES[:1])
    assert said.effects[0].ratio == pytest.approx(1.0)
    assert said.verdict is Verdict.NO_DIFFERENCE


@pytest.mark.parametrize(
    ("before", "after", "floor", "verdict"),
    [
        (0.0, 0.0, 0.0, Verdict.NO_DIFFERENCE),
        (0.0, 0.0, 0.5, Verdict.NO_DIFFERENCE),
        (math.nan, 5.0, 0.5, Verdict.NO_DIFFERENCE),
        (5.0, -1.0, 0.5, Verdict.NO_DIFFERENCE),
        (math.inf, 5.0, 0.5, Verdict.NO_DIFFERENCE),
        (5.0, 5.0, 0.0, Verdict.NO_DIFFERENCE),
        (100.0, 0.0, 0.0, Verdict.NO_DIFFERENCE),
        (100.0, 0.0, 0.5, Verdict.BETTER),
        (0.0, 100.0, 0.5, Verdict.WORSE),
        (100.0, 50.0, 0.0, Verdict.BETTER),
        (1e-300, 1e300, 0.0, Verdict.WORSE),
    ],
)
def test_zero_constant_and_missing_figures(before: float, after: float, floor: float, verdict: Verdict) -> None:
    figures = {Arm.BEFORE: before, Arm.AFTER: after}
    measure = Measure(name="exits", floor=floor)
    said = series(lambda number: Run(arm=arm(number), values={"exits": figures[arm(number)]}), measures=[measure])
    assert said.verdict is verdict
    assert said.why


def test_a_block_with_a_gap_is_left_out_for_that_measure_only() -> None:
    guest = Guest(1, {})
    runs = [guest.run(number) for number in range(runs_max(RULES))]
    runs[3] = Run(arm=runs[3].arm, values={**runs[3].values, "steal": math.nan})
    effects = {effect.name: effect for effect in judge(MEASURES, runs, RULES).effects}
    assert effects["steal"].blocks == RULES.blocks_max - 1
    assert effects["exits"].blocks == RULES.blocks_max


def test_nothing_is_said_between_two_looks() -> None:
    guest = Guest(3, {"exits": 0.9})
    runs = [guest.run(number) for number in range(runs_max(RULES))]
    at = [2 + 4 * blocks for blocks in looks(RULES)]
    assert not judge(MEASURES, runs[: at[0] - 1], RULES).effects
    for first, following in pairwise(at):
        assert judge(MEASURES, runs[:first], RULES) == judge(MEASURES, runs[: following - 1], RULES)


def test_another_order_is_refused() -> None:
    with pytest.raises(ValueError, match="A B B A"):
        judge(MEASURES, [Run(arm=Arm.AFTER)], RULES)
    with pytest.raises(ValueError, match="measure"):
        judge((), [], RULES)
    with pytest.raises(ValueError, match="at least 3"):
        looks(Rules(blocks_max=2))


@given(st.integers(3, 60), st.floats(0.001, 0.5))
def test_the_level_is_spent_and_no_more(blocks: int, level: float) -> None:
    plan = looks(Rules(blocks_max=blocks, level=level))
    assert sum(plan.values()) == pytest.approx(level)
    assert min(plan) == BLOCKS_MIN
    assert max(plan) == blocks
    assert all(spent > 0 for spent in plan.values())


@given(
    st.lists(st.one_of(st.floats(0.0, 1e12), st.just(math.nan), st.just(math.inf), st.just(-1.0)), min_size=0, max_size=34),
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
)
def test_whatever_is_measured_something_sensible_is_said(values: list[float], floor: float, less: bool) -> None:
    measure = Measure(name="x", floor=floor, less_is_better=less)
    runs = [Run(arm=arm(number), values={"x": value}) for number, value in enumerate(values)]
    said = judge([measure], runs, RULES)
    for effect in said.effects:
        high = math.inf if effect.high is None else effect.high
        assert all(math.isfinite(figure) for figure in (effect.before, effect.after, effect.ratio, effect.low, effect.high or 0.0, effect.p))
        assert effect.low <= effect.ratio <= high
        outside = high < 1 / (1 + measure.matters) or effect.low > 1 + measure.matters
        assert outside == (effect.verdict is not Verdict.NO_DIFFERENCE)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0), st.floats(0.001, 1000.0))
def test_units_and_direction_do_not_matter(seed: int, ratio: float, unit: float) -> None:
    """In other units, and asked the other way round, the same is said."""
    guest = Guest(seed, {"exits": ratio})
    runs = [guest.run(number) for number in range(runs_max(RULES))]
    said = judge(MEASURES[:1], runs, RULES)
    other = judge(MEASURES[:1], [Run(arm=run.arm, values={"exits": run.values["exits"] * unit}) for run in runs], RULES)
    assert other.effects[0].ratio == pytest.approx(said.effects[0].ratio)
    assert other.verdict is said.verdict
    mirrored = judge([Measure(name="exits", less_is_better=False)], runs, RULES)
    assert {said.verdict, mirrored.verdict} in ({Verdict.BETTER, Verdict.WORSE}, {Verdict.NO_DIFFERENCE})


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_more_measures_never_make_a_claim_easier(seed: int, more: int) -> None:
    guest = Guest(seed, {"exits": 0.85})
    runs = [guest.run(number) for number in range(runs_max(RULES))]
    crowd = [*MEASURES[:1], *(Measure(name=f"exits:{n}") for n in range(more))]
    noise = random.Random(seed)
    padded = [Run(arm=run.arm, values={**run.values, **{f"exits:{n}": 100 * math.exp(noise.gauss(0, 0.05)) for n in range(more)}}) for run in runs]
    alone, beside = judge(MEASURES[:1], runs, RULES).effects[0], judge(crowd, padded, RULES).effects[0]
    assert beside.low <= alone.low + 1e-12
    assert beside.high >= alone.high - 1e-12
    assert beside.p >= alone.p


@pytest.mark.parametrize(
    ("tails", "freedom", "t"),
    [(0.05, 1, 12.7062), (0.05, 2, 4.30265), (0.05, 5, 2.57058), (0.01, 3, 5.84091), (0.01, 10, 3.16927), (0.001, 7, 5.40788), (0.05, 30, 2.04227)],
)
def test_student_agrees_with_the_printed_tables(tails: float, freedom: int, t: float) -> None:
    assert quantile(tails, freedom) == pytest.approx(t, rel=1e-5)
    assert two_tails(t, freedom) == pytest.approx(tails, rel=1e-4)


@given(st.floats(1e-9, 1.0), st.integers(1, 200))
def test_student_there_and_back(tails: float, freedom: int) -> None:
    assert two_tails(quantile(tails, freedom), freedom) == pytest.approx(tails, rel=1e-4, abs=1e-12)
