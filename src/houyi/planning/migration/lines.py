"""Which way between two hosts is measured next. Pure.

One at a time in the whole fleet, since two at once would measure each other; the ones never measured first, then the oldest. A pair stands for both directions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from houyi.model.ids import HostId, MigrationId
from houyi.model.line import LineAsked

FRESH_SECONDS = 86400.0
"""How long a measurement is believed: networks are rebuilt by people, at people's pace."""
AGAIN_SECONDS = 600.0
"""After one that has failed: a host was busy with moves, or could not be reached."""
PATIENCE_SECONDS = 60.0
"""Then an open one has failed: it takes a second, and as long as two hosts take to hear of it, one after the other."""


def next_line(known: Sequence[LineAsked], hosts: Iterable[HostId], ids: Iterable[MigrationId], now: float) -> list[LineAsked]:
    """What is to be written: open ones that are over, and the next to be asked.

    :param hosts: that are heard of, and fit to be moved from or to. :param ids: fresh ones.
    """
    there = sorted(hosts)
    over = [replace(one, open=False) for one in known if one.open and _is_over(one, there, now)]
    if sum(one.open for one in known) > len(over):
        return over
    before = {(one.source, one.destination): one for one in known}
    due = [pair for pair in combinations(there, 2) if pair not in before or _is_due(before[pair], now)]
    if not due:
        return over
    source, destination = min(due, key=lambda pair: (before[pair].asked_at if pair in before else 0.0, pair))
    answers = before[source, destination].answers if (source, destination) in before else {}
    return [*over, LineAsked(id=next(iter(ids)), source=source, destination=destination, asked_at=now, open=True, answers=answers)]


def _is_over(one: LineAsked, there: Sequence[HostId], now: float) -> bool:
    return one.settled or one.source not in there or one.destination not in there or not 0 <= now - one.asked_at <= PATIENCE_SECONDS


def _is_due(one: LineAsked, now: float) -> bool:
    measured = any(answer.rates is not None and answer.id == one.id for answer in one.answers.values())
    return not one.open and not 0 <= now - one.asked_at <= (FRESH_SECONDS if measured else AGAIN_SECONDS)
