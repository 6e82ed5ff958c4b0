"""A series of measured runs with and without a change, and what can be said of it: the shapes; `planning.tuning.series` does the thinking.

Runs come in blocks A B B A: A is how things were before, B is with the change. A measure is one number of a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Arm(StrEnum):
    """Under which settings a run is made."""

    BEFORE = "before"
    """A: as it was."""
    AFTER = "after"
    """B: with the change."""


class Verdict(StrEnum):
    BETTER = "better"
    """Something is better, and nothing is worse, by more than matters."""
    WORSE = "worse"
    MIXED = "mixed"
    """Something is better and something else is worse."""
    NO_DIFFERENCE = "no_difference"
    """Nothing could be told from no difference. Not a proof that there is none: `Effect.low` and `high` say how large it could still be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is compared, and from when on a difference matters."""

    name: str
    """'exits', 'exits:hlt', 'work_done' ...; a key of `Run.values`."""
    unit: str = ""
    """For people: 'per second', 'us' ..."""
    less_is_better: bool = True
    matters: float = 0.05
    """The smallest effect that matters, as a ratio: 0.05 is 5 %."""
    floor: float = 0.0
    """The smallest value that can be told from zero, in the measure's own unit; less is taken to be this much. A count's is half of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run that was made whole."""

    arm: Arm
    values: Mapping[str, float] = field(default_factory=dict)
    """By measure. Absent, negative or not finite: not measured in this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a series is enough; fixed before it begins."""

    blocks_max: int = 8
    """Of four runs each, beside two runs to warm up; at least 3."""
    level: float = 0.05
    """The chance to call anything better or worse that is neither, in the whole series, over all measures and all looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the change did to one measure."""

    name: str
    blocks: int
    """In how many blocks it was measured whole."""
    before: float
    """Geometric mean over the runs of A; 0: not measured, or nothing was counted."""
    after: float
    ratio: float
    """after / before, geometric (trimmed) mean over the blocks; 1 when nothing is known."""
    low: float
    """The interval of the ratio, at the level at which the measure was tested: after correction for several measures and several looks."""
    high: float | None
    """None: no bound is known."""
    p: float
    """Adjusted for several measures (Holm): of an effect that does not matter, the chance to look like this one or more so, at this look."""
    verdict: Verdict
    """Never MIXED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What can be said after so many blocks."""

    verdict: Verdict
    blocks: int
    enough: bool
    """No further run is needed: it is decided, or so many were planned."""
    keeps: bool
    """Better on the first measure, and worse on none."""
    why: str
    """For people: one sentence."""
    effects: tuple[Effect, ...] = ()
    """In the order of the measures; the first is the main one."""
