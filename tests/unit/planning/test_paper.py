"""Thousands of random lives of a move, each replayable from its seed: `HOUYI_PAPER_FIRST=1234 HOUYI_PAPER_LIVES=1 pytest tests/unit/planning/test_paper.py`."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from houyi.model.migration import DesiredMove, Migration, MigrationState, Order, Presence
from houyi.planning.migration.course import Decision, Traffic, decide
from houyi.planning.migration.ends import EndPlan, Here, MoveMemory, plan_end
from unit.planning.paper import Paper

LIVES = int(os.environ.get("HOUYI_PAPER_LIVES", "500"))
"""Of each of the eight parts of a run."""
FIRST = int(os.environ.get("HOUYI_PAPER_FIRST", "0"))
BUG_LIVES = 2000


def lived(seed: int, *parts: Callable[..., object]) -> Paper:
    paper = Paper(seed, *parts)  # type: ignore[arg-type]
    try:
        paper.live(faults=seed % 7)
    except AssertionError as error:
        pytest.fail(f"HOUYI_PAPER_FIRST={seed} HOUYI_PAPER_LIVES=1 pytest tests/unit/planning/test_paper.py -k lives\n{error}")
    return paper


@pytest.mark.parametrize("part", range(1 if LIVES == 1 else 8))
def test_lives(part: int) -> None:
    ends = Counter(lived(FIRST + part * LIVES + number).move.course.state for number in range(LIVES))
    if LIVES > 100:
        assert set(ends) == {MigrationState.DONE, MigrationState.FAILED, MigrationState.CANCELLED}, "they come to every end"


def test_a_seed_is_one_life() -> None:
    assert lived(5).story == lived(5).story


def go_without_asking(order: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """An agent that forgets that it has withdrawn."""
    return plan_end(order, here, replace(memory, withdrawn=False))


def commit_without_proof(one: Migration, traffic: Traffic, now: float) -> Decision:
    """A server that takes a guest that stands still for one that has left."""
    if one.source is not None and one.source.presence is Presence.HALTED:
        one = replace(one, source=replace(one.source, presence=Presence.NONE))
    return decide(one, traffic, now)


def release_first(order: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """A source that resumes what it has halted as soon as it is told to cancel."""
    return plan_end(replace(order, order=Order.RELEASE) if order.order is Order.CANCEL else order, here, memory)


@pytest.mark.parametrize("broken", [(go_without_asking,), (plan_end, commit_without_proof), (release_first,)], ids=lambda parts: parts[-1].__name__)
def test_a_planted_bug_is_caught(broken: tuple[Callable[..., object], ...]) -> None:
    for seed in range(BUG_LIVES):
        try:
            Paper(seed, *broken).live(faults=seed % 7)  # type: ignore[arg-type]
        except AssertionError:
            return
    pytest.fail(f"not caught within {BUG_LIVES} lives")
