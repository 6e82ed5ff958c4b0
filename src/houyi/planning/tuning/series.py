"""What a series of interleaved runs says: better, worse, mixed, or no difference, with honest intervals. Pure.

The plan. One run of A and one of B to warm up, which count for nothing; then blocks A B B A. What drifts linearly (a filling disk, a host that warms up)
cancels within such a block, and noise that lasts over several runs nearly does: contrasts of neighbouring blocks correlate by less than 0.05 for AR(1) noise of
0.5, which those of A B pairs do not. So the unit of analysis is the block: for a measure, the mean of the logarithms of its two B less that of its two A.

The interval. Student's t on these log-ratios, from TRIM_FROM blocks on with the lowest and the highest ones trimmed (Tukey and McLaughlin, "Less vulnerable confidence
and significance procedures for location", Sankhya A 25, 1963): costs are nearly lognormal but for outliers, of which a plain t loses half its power, never its honesty.
An effect counts when the whole interval lies beyond the smallest effect that matters, either side: what is tested is not "exactly equal", which nothing is, but
"differs by less than matters".

Several measures. Holm, "A simple sequentially rejective multiple test procedure", 1979: the chance of any false claim is bounded, however the measures hang together.

Several looks. They are planned before the series begins (`looks`). The level is spent over them by alpha * t^2 (Lan and DeMets, "Discrete sequential boundaries for
clinical trials", 1983; the power family of Kim and DeMets, 1987), and each look tests with what is newly spent: the sum over looks bounds the chance of a false claim in
the whole series without any assumption about how looks hang together (Bonferroni). Intervals are those of the look (repeated confidence intervals, Jennison and Turnbull 1989).
A series may end before its maximum at a look only: stopping by any rule there costs no error, since every look has paid for itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from houyi.model.series import Arm, Effect, Judgement, Measure, Rules, Run, Verdict
from houyi.planning.tuning.student import quantile, two_tails

WARM_UP = (Arm.BEFORE, Arm.AFTER)
"""The first run of each: caches fill, the guest finds its pace."""
BLOCK = (Arm.BEFORE, Arm.AFTER, Arm.AFTER, Arm.BEFORE)
BLOCKS_MIN = 3
"""Two degrees of freedom: with one, only an effect twenty times the noise would be seen."""
TRIM_FROM = 6
"""Blocks. With fewer, too little would be left to tell the noise."""
_TRIMMED = 0.15
"""Of the blocks, at each end; at least one."""
_GROWTH = 4 / 3
"""Blocks from one look to the next: more looks would leave each too little to spend."""
_SPENT = 2.0
"""Exponent of the spending: early looks, which rest on few blocks, get little."""
_LEAST_ERROR = 1e-9
"""Of a mean of logarithms: figures that repeat to the last digit are not known better than this."""
_LOG_MAX = 700.0
"""math.exp overflows a little beyond it, and what is infinite cannot be stored."""
_TIMES = 3.0
"""Beyond this ratio, percents are harder to read than times."""
_TIMES_MAX = 1e6


def arm(number: int) -> Arm:
    """Under which settings run `number` (from 0, without those that were void) is made."""
    return WARM_UP[number] if number < len(WARM_UP) else BLOCK[(number - len(WARM_UP)) % len(BLOCK)]


def runs_max(rules: Rules) -> int:
    """How many runs the series has at most."""
    return len(WARM_UP) + len(BLOCK) * rules.blocks_max


def looks(rules: Rules) -> Mapping[int, float]:
    """After how many blocks it is looked, and at which level each time; the levels add up to `rules.level`.

    :raise ValueError: fewer than BLOCKS_MIN blocks, or a level outside (0, 1).
    """
    if rules.blocks_max < BLOCKS_MIN or not 0 < rules.level < 1:
        raise ValueError(f"a series has at least {BLOCKS_MIN} blocks, and a level between 0 and 1")
    at = [BLOCKS_MIN]
    while at[-1] < rules.blocks_max:
        at.append(min(rules.blocks_max, math.ceil(at[-1] * _GROWTH)))
    spent = [0.0, *(rules.level * (blocks / rules.blocks_max) ** _SPENT for blocks in at)]
    return {blocks: after - before for blocks, (before, after) in zip(at, pairwise(spent), strict=True)}


def judge(measures: Sequence[Measure], runs: Sequence[Run], rules: Rules) -> Judgement:
    """What can be said at the last look that these runs have come to.

    :param measures: at least one, the main one first; fixed before the series began.
    :param runs: in order from the first, without void ones; run n has the settings `arm(n)`. :raise ValueError: another order.
    """
    if not measures or any(run.arm is not arm(number) for number, run in enumerate(runs)):
        raise ValueError("a series has a measure, and its runs are A B, then A B B A each block")
    plan = looks(rules)
    made = max(0, len(runs) - len(WARM_UP)) // len(BLOCK)
    blocks = max((at for at in plan if at <= made), default=0)
    if not blocks:
        return Judgement(verdict=Verdict.NO_DIFFERENCE, blocks=0, enough=False, keeps=False, why=f"{made} of at least {BLOCKS_MIN} blocks of runs are made")
    body = runs[len(WARM_UP) : len(WARM_UP) + len(BLOCK) * blocks]
    effects = _tested(measures, [_sample(measure, body) for measure in measures], plan[blocks])
    verdict = _together(effects)
    keeps = effects[0].verdict is Verdict.BETTER and verdict is Verdict.BETTER
    enough = blocks == rules.blocks_max or _settled(measures, effects)
    return Judgement(verdict=verdict, blocks=blocks, enough=enough, keeps=keeps, why=_sentence(effects, verdict, len(body)), effects=effects)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One measure, over the blocks in which it was measured whole."""

    before: float
    after: float
    blocks: int
    mean: float
    """Of the log-ratios, trimmed."""
    error: float
    """Standard error of the mean; infinite when there are too few blocks."""
    freedom: int
    """Degrees of freedom of the error."""


def _sample(measure: Measure, body: Sequence[Run]) -> _Sample:
    ratios: list[float] = []
    logs: dict[Arm, list[float]] = {Arm.BEFORE: [], Arm.AFTER: []}
    counted = {Arm.BEFORE: False, Arm.AFTER: False}
    for start in range(0, len(body), len(BLOCK)):
        block = [(run.arm, run.values.get(measure.name, math.nan)) for run in body[start : start + len(BLOCK)]]
        if not all(math.isfinite(value) and value >= 0 and max(value, measure.floor) > 0 for _, value in block):
            continue
        of: dict[Arm, list[float]] = {Arm.BEFORE: [], Arm.AFTER: []}
        for side, value in block:
            of[side].append(math.log(max(value, measure.floor)))
            counted[side] |= value > 0
        ratios.append(fmean(of[Arm.AFTER]) - fmean(of[Arm.BEFORE]))
        for side in Arm:
            logs[side] += of[side]
    mean, error, freedom = _located(ratios)
    return _Sample(
        before=_exp(fmean(logs[Arm.BEFORE])) if counted[Arm.BEFORE] else 0.0,
        after=_exp(fmean(logs[Arm.AFTER])) if counted[Arm.AFTER] else 0.0,
        blocks=len(ratios),
        mean=mean,
        error=error,
        freedom=freedom,
    )


def _located(ratios: Sequence[float]) -> tuple[float, float, int]:
    """(mean, its standard error, degrees of freedom): of the values that are left after trimming, with the spread of the winsorized ones."""
    count = len(ratios)
    if count < BLOCKS_MIN:
        return fmean(ratios) if ratios else 0.0, math.inf, 1
    off = max(1, int(count * _TRIMMED)) if count >= TRIM_FROM else 0
    ranked, left = sorted(ratios), count - 2 * off
    kept = ranked[off : count - off]
    winsorized = [kept[0]] * off + kept + [kept[-1]] * off
    error = stdev(winsorized) * math.sqrt((count - 1) / (left * (left - 1)))  # without trimming: stdev / sqrt(count)
    return fmean(kept), max(_LEAST_ERROR, error), left - 1


def _tested(measures: Sequence[Measure], samples: Sequence[_Sample], level: float) -> tuple[Effect, ...]:
    """Holm's procedure over those that were measured: from the clearest on, each at level / (how many are left), until one does not pass."""
    chances = [_chance(measure, sample) for measure, sample in zip(measures, samples, strict=True)]
    order = sorted((n for n, sample in enumerate(samples) if sample.blocks >= BLOCKS_MIN), key=lambda n: chances[n])
    effects = [_unknown(measure, sample) for measure, sample in zip(measures, samples, strict=True)]
    adjusted, tested = 0.0, level
    passed = True
    for rank, n in enumerate(order):
        left = len(order) - rank
        adjusted = max(adjusted, min(1.0, chances[n] * left))
        tested = level / left if passed else tested  # after the first that does not pass, none is tested any more: all others have its interval
        passed = passed and chances[n] <= tested
        effects[n] = _effect(measures[n], samples[n], tested, adjusted, claimed=passed)
    return tuple(effects)


def _chance(measure: Measure, sample: _Sample) -> float:
    """Two-sided p of "differs by no more than matters"; 1 when the estimate lies within that."""
    if not math.isfinite(sample.error):
        return 1.0
    beyond = abs(sample.mean) - math.log1p(measure.matters)
    return two_tails(beyond / sample.error, sample.freedom) if beyond > 0 else 1.0


def _effect(measure: Measure, sample: _Sample, level: float, adjusted: float, *, claimed: bool) -> Effect:
    half = quantile(level, sample.freedom) * sample.error
    verdict = Verdict.NO_DIFFERENCE
    if claimed:
        verdict = Verdict.BETTER if (sample.mean < 0) is measure.less_is_better else Verdict.WORSE
    return Effect(
        name=measure.name,
        blocks=sample.blocks,
        before=sample.before,
        after=sample.after,
        ratio=_exp(sample.mean),
        low=_exp(sample.mean - half),
        high=_exp(sample.mean + half),
        p=adjusted,
        verdict=verdict,
    )


def _unknown(measure: Measure, sample: _Sample) -> Effect:
    """Measured in too few blocks to say anything."""
    return Effect(
        name=measure.name,
        blocks=sample.blocks,
        before=sample.before,
        after=sample.after,
        ratio=_exp(sample.mean),
        low=0.0,
        high=None,
        p=1.0,
        verdict=Verdict.NO_DIFFERENCE,
    )


def _exp(log: float) -> float:
    return math.exp(min(log, _LOG_MAX))


def _together(effects: Sequence[Effect]) -> Verdict:
    found = {effect.verdict for effect in effects} - {Verdict.NO_DIFFERENCE}
    return Verdict.MIXED if len(found) > 1 else found.pop() if found else Verdict.NO_DIFFERENCE


def _settled(measures: Sequence[Measure], effects: Sequence[Effect]) -> bool:
    """Whether more runs would not change what is done: it is worse; or the main measure is better and no other leans to worse by more than matters; or every
    interval lies within what does not matter."""
    if any(effect.verdict is Verdict.WORSE for effect in effects):
        return True
    if effects[0].verdict is Verdict.BETTER:
        return not any(_leans_worse(measure, effect) for measure, effect in zip(measures, effects, strict=True))
    return all(
        effect.high is not None and 1 / (1 + measure.matters) <= effect.low and effect.high <= 1 + measure.matters
        for measure, effect in zip(measures, effects, strict=True)
    )


def _leans_worse(measure: Measure, effect: Effect) -> bool:
    return effect.ratio > 1 + measure.matters if measure.less_is_better else effect.ratio < 1 / (1 + measure.matters)


def _sentence(effects: Sequence[Effect], verdict: Verdict, runs: int) -> str:
    claims = {kind: [_told(effect) for effect in effects if effect.verdict is kind] for kind in (Verdict.WORSE, Verdict.BETTER)}
    if verdict is Verdict.NO_DIFFERENCE:
        if not any(effect.blocks >= BLOCKS_MIN for effect in effects):
            return f"nothing was measured often enough in {runs} runs"
        return f"no difference that could be told in {runs} runs: {_told(effects[0])}"
    parts = [f"{kind.value}: {', '.join(told)}" for kind, told in claims.items() if told]
    return f"{'; '.join(parts)}{'; nothing worse' if verdict is Verdict.BETTER else ''}; in {runs} runs"


def _told(effect: Effect) -> str:
    if effect.high is None:
        return f"{effect.name} was not measured often enough"
    return f"{effect.name} {_change(effect.ratio)} ({_change(effect.low)} to {_change(effect.high)})"


def _change(ratio: float) -> str:
    if ratio > _TIMES:
        return f"{ratio:.1f} times" if ratio < _TIMES_MAX else "many times"
    return f"{(ratio - 1) * 100:+.1f} %"
