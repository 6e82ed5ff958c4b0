"""Which way between hosts is measured next."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.ids import HostId, MigrationId
from houyi.model.line import LineAnswer, LineAsked, LineRates
from houyi.planning.migration.lines import AGAIN_SECONDS, FRESH_SECONDS, PATIENCE_SECONDS, next_line

A, B, C = HostId("a"), HostId("b"), HostId("c")
NOW = 1_000_000.0
RATES = LineRates(one_mib_s=100.0, all_mib_s=200.0)


def asked(source: HostId = A, destination: HostId = B, *, ago: float = 0.0, opened: bool = True, said: LineAnswer | None = None) -> LineAsked:
    one = LineAsked(id=MigrationId("old"), source=source, destination=destination, asked_at=NOW - ago, open=opened, answers={})
    return one if said is None else replace(one, answers={source: said})


def measured(line_id: str = "old") -> LineAnswer:
    return LineAnswer(id=MigrationId(line_id), rates=RATES)


def plan(known: list[LineAsked], hosts: list[HostId]) -> list[tuple[HostId, HostId, bool]]:
    return [(one.source, one.destination, one.open) for one in next_line(known, hosts, iter([MigrationId("new")]), NOW)]


def test_alone_there_is_nothing_to_measure() -> None:
    assert plan([], [A]) == []


def test_every_pair_once_and_one_at_a_time() -> None:
    assert plan([], [C, B, A]) == [(A, B, True)]
    assert plan([asked()], [A, B, C]) == []
    assert plan([asked(ago=5, said=measured())], [A, B, C]) == [(A, B, False), (A, C, True)]
    done = [asked(A, B, ago=9, opened=False, said=measured()), asked(A, C, ago=5, opened=False, said=measured())]
    assert plan(done, [A, B, C]) == [(B, C, True)]
    assert plan([*done, asked(B, C, opened=False, said=measured())], [A, B, C]) == []


def test_again_when_it_is_old_and_sooner_when_it_failed() -> None:
    assert plan([asked(ago=FRESH_SECONDS - 1, opened=False, said=measured())], [A, B]) == []
    assert plan([asked(ago=FRESH_SECONDS + 1, opened=False, said=measured())], [A, B]) == [(A, B, True)]
    failed = LineAnswer(id=MigrationId("old"), error=Problem("line_not_measured", "busy"))
    assert plan([asked(ago=AGAIN_SECONDS - 1, opened=False, said=failed)], [A, B]) == []
    assert plan([asked(ago=AGAIN_SECONDS + 1, opened=False, said=failed)], [A, B]) == [(A, B, True)]


def test_what_was_measured_once_stays_known_while_it_is_asked_again() -> None:
    (again,) = next_line([asked(ago=FRESH_SECONDS + 1, opened=False, said=measured())], [A, B], iter([MigrationId("new")]), NOW)
    assert (again.id, again.rates, again.settled) == ("new", RATES, False)


def test_one_that_fails_is_over_and_holds_up_no_other() -> None:
    failed = LineAnswer(id=MigrationId("old"), error=Problem("door_unreachable", "cut"))
    assert plan([asked(said=failed)], [A, B, C]) == [(A, B, False), (A, C, True)]
    assert plan([asked(ago=PATIENCE_SECONDS + 1)], [A, B, C])[0] == (A, B, False)
    assert plan([asked()], [B, C]) == [(A, B, False), (B, C, True)], "a host that is not heard of"
    assert plan([asked(ago=-100)], [A, B])[0] == (A, B, False), "a clock that was set back"


def test_an_answer_to_an_older_question_settles_nothing() -> None:
    assert plan([asked(said=measured("older"))], [A, B]) == []


@given(st.lists(st.sampled_from([A, B, C, HostId("d"), HostId("e")]), unique=True), st.integers(1, 40))
def test_in_the_end_every_pair_is_known_and_none_is_asked_twice(hosts: list[HostId], passes: int) -> None:
    known: dict[tuple[HostId, HostId], LineAsked] = {}
    asked_for: list[tuple[HostId, HostId]] = []
    for number in range(passes):
        for one in next_line(list(known.values()), hosts, iter([MigrationId(str(number))]), NOW + number):
            if one.open:
                asked_for.append((one.source, one.destination))
                one = replace(one, answers={one.source: LineAnswer(id=one.id, rates=RATES)})
            known[one.source, one.destination] = one
        assert sum(one.open for one in known.values()) <= 1
    assert len(set(asked_for)) == len(asked_for) == min(passes, len(hosts) * (len(hosts) - 1) // 2)
