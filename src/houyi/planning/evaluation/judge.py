"""Places beside the reference, from samples of interleaved rounds. Pure.

Rounds are the unit: within one, a benchmark runs in all places, one after the other in random order, so that whatever changes on the machine from round to round
cancels in the ratio of a round. The logarithms of these ratios are taken as nearly normal, and the interval is Student's t. (A bootstrap of a handful of rounds would
promise more than it holds: its intervals are far too narrow below some twenty.) A place is better or worse when its ratio differs by more than MATTERS at the level
LEVEL, after Holm's correction for all comparisons of the report: the chance of any false claim in it is LEVEL. An interval is of its one comparison, without correction.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median, stdev

from houyi.model.evaluation import Better, Comparison, Sample, Standing
from houyi.planning.tuning.student import quantile, two_tails

LEVEL = 0.05
MATTERS = 0.02
"""Differences below it are nobody's business."""
ROUNDS_MIN = 3
"""With two, only differences of hundreds of times the noise would be seen."""
_LOG_MAX = 700.0
"""math.exp overflows a little beyond it."""
_LEAST_ERROR = 1e-6
"""Of a mean of logarithms: programs print a handful of digits."""


def values(samples: Sequence[Sample], benchmark: str, place: str) -> dict[int, float]:
    """Round -> what was measured."""
    return {one.round: one.measured.value for one in samples if one.measured is not None and (one.benchmark, one.place) == (benchmark, place)}


def spread(found: Sequence[float]) -> tuple[float, float, float]:
    """(least, median, greatest) of at least one value."""
    return min(found), median(found), max(found)


def compare(samples: Sequence[Sample], better: Mapping[str, Better], places: Sequence[str]) -> tuple[Comparison, ...]:
    """Every benchmark in every place but the reference, which is the first of `places`.

    :param better: of each benchmark, in the order of the report.
    """
    reference, others = places[0], places[1:]
    plain = [_one(samples, benchmark, way, place, reference) for benchmark, way in better.items() for place in others]
    return _told(plain)


def _one(samples: Sequence[Sample], benchmark: str, way: Better, place: str, reference: str) -> Comparison:
    here, there = values(samples, benchmark, place), values(samples, benchmark, reference)
    sign = 1.0 if way is Better.MORE else -1.0
    logs = [sign * (math.log(here[number]) - math.log(there[number])) for number in sorted(here.keys() & there.keys())]
    made = Comparison(benchmark=benchmark, place=place, reference=reference, rounds=len(logs))
    if not logs:
        return made
    mean = fmean(logs)
    if len(logs) < ROUNDS_MIN:
        return replace(made, ratio=_exp(mean))
    error, freedom = max(_LEAST_ERROR, stdev(logs) / math.sqrt(len(logs))), len(logs) - 1
    half = quantile(LEVEL, freedom) * error
    beyond = abs(mean) - math.log1p(MATTERS)
    return replace(
        made,
        ratio=_exp(mean),
        low=_exp(mean - half),
        high=_exp(mean + half),
        p=two_tails(beyond / error, freedom) if beyond > 0 else 1.0,
        standing=Standing.NO_DIFFERENCE,
    )


def _exp(log: float) -> float:
    return math.exp(min(log, _LOG_MAX))


def _told(plain: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Holm, "A simple sequentially rejective multiple test procedure", 1979."""
    known = sorted((one for one in plain if one.standing is not Standing.UNKNOWN), key=lambda one: one.p)
    adjusted: dict[tuple[str, str], float] = {}
    least = 0.0
    for rank, one in enumerate(known):
        least = max(least, min(1.0, one.p * (len(known) - rank)))
        adjusted[one.benchmark, one.place] = least
    return tuple(_standing(one, adjusted.get((one.benchmark, one.place))) for one in plain)


def _standing(one: Comparison, p: float | None) -> Comparison:
    if p is None or one.ratio is None:
        return one
    standing = Standing.NO_DIFFERENCE if p > LEVEL else Standing.BETTER if one.ratio > 1 else Standing.WORSE
    return replace(one, p=p, standing=standing)
