"""What comes next for a move, state by state; and that every decision is a step that the table of states allows."""

import itertools
from dataclasses import replace

import pytest

from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.migration import ENDED, NEXT, End, Figures, MigrationKind, MigrationState, MoveMode, Order, Presence, Terms
from houyi.planning.migration.course import MOVES_PER_HOST, PREPARE_SECONDS, Act, Traffic, decide, in_turn
from unit.planning.moves import LANDING, move, seen

S, P, O = MigrationState, Presence, Order  # noqa: E741 - columns
SOURCE, DESTINATION = End.SOURCE, End.DESTINATION
NOW = 200.0
FREE = Traffic()
HELD = seen(SOURCE, P.LIVE, O.STAND_BY)
READY = seen(DESTINATION, P.NONE, O.PREPARE, ready=True, landing=LANDING)
PROBLEM = Problem("disk_full", "the disk is full")


def course(one, traffic=FREE, now=NOW):
    return decide(one, traffic, now).course


class TestQueued:
    def test_begins_when_there_is_room(self):
        found = decide(move(S.QUEUED, orders={}), FREE, NOW)
        assert (found.course.state, found.course.orders, found.course.began_at, found.act) == (
            S.PREPARING,
            {SOURCE: O.STAND_BY, DESTINATION: O.PREPARE},
            NOW,
            Act.NOTHING,
        )

    def test_cancelled_before_it_began(self):
        found = decide(move(S.QUEUED, orders={}, cancelled=True), FREE, NOW)
        assert (found.course.state, found.act, found.course.ended_at) == (S.CANCELLED, Act.DROP, NOW)

    @pytest.mark.parametrize("host", ["a", "b"])
    def test_of_which_a_host_was_removed_ends(self, host: str) -> None:
        found = decide(replace(move(S.QUEUED, orders={}), gone=frozenset({HostId(host)}), source_heard=host != "a", destination_heard=host != "b"), FREE, NOW)
        assert (found.course.state, found.course.ended_at, found.act) == (S.FAILED, NOW, Act.DROP)
        assert found.course.error is not None
        assert found.course.error.code == "host_removed"

    @pytest.mark.parametrize("host", ["a", "b"])
    def test_waits_for_a_slot_of_either_host(self, host):
        found = course(move(S.QUEUED, orders={}), Traffic(hosts={HostId(host): MOVES_PER_HOST}))
        assert found.state is S.QUEUED
        assert str(MOVES_PER_HOST) in found.why

    def test_waits_for_another_between_the_same_hosts(self):
        traffic = Traffic.of([move(S.MOVING, id_="other")])
        assert course(move(S.QUEUED, orders={}), traffic).state is S.QUEUED

    @pytest.mark.parametrize("silent", ["source", "destination"])
    def test_waits_for_a_silent_host_and_says_which(self, silent):
        found = course(replace(move(S.QUEUED, orders={}), **{f"{silent}_heard": False}))
        assert found.state is S.QUEUED
        assert silent in found.why


class TestTraffic:
    def test_counts_what_is_under_way_only(self):
        states = [S.QUEUED, S.PREPARING, S.MOVING, S.UNKNOWN, S.FINISHING, S.ABORTING, S.DONE]
        assert Traffic.of([move(state) for state in states]).hosts == {"a": 3, "b": 3}

    def test_turns(self):
        ones = [move(S.QUEUED, id_="low"), move(S.QUEUED, id_="high", priority=10), move(S.MOVING, id_="under-way")]
        assert [one.id for one in in_turn(ones)] == ["under-way", "high", "low"]


class TestPreparing:
    def test_moves_once_the_source_holds_it_and_the_destination_is_ready(self):
        found = course(move(S.PREPARING, source=HELD, destination=READY))
        assert (found.state, found.orders[SOURCE], found.moved_at) == (S.MOVING, O.MOVE, NOW)

    @pytest.mark.parametrize(
        ("source", "destination"),
        [
            (None, READY),
            (HELD, None),
            (replace(HELD, busy=True), READY),
            (HELD, replace(READY, ready=False)),
            (replace(HELD, order=O.RELEASE), READY),
        ],
    )
    def test_waits_for_both(self, source, destination):
        assert course(move(S.PREPARING, source=source, destination=destination)).state is S.PREPARING

    @pytest.mark.parametrize(
        "one",
        [
            move(S.PREPARING, source=HELD, destination=READY, cancelled=True),
            move(S.PREPARING, source=HELD, destination=replace(READY, error=PROBLEM)),
            move(S.PREPARING, source=replace(HELD, presence=P.OFF), destination=READY),
            move(S.PREPARING, source=HELD, destination=READY, kind=MigrationKind.COLD),
        ],
    )
    def test_what_is_wrong_ends_it_at_the_source(self, one):
        found = decide(one, FREE, NOW)
        assert (found.course.state, found.course.orders, found.act) == (S.ABORTING, {SOURCE: O.RELEASE, DESTINATION: O.WITHDRAW}, Act.NOTHING)
        assert found.course.error is not None

    def test_is_bounded_in_time(self):
        assert course(move(S.PREPARING), now=100.0 + PREPARE_SECONDS).state is S.PREPARING
        assert course(move(S.PREPARING), now=101.0 + PREPARE_SECONDS).error.code == "migration_slow"


class TestMoving:
    ON_ITS_WAY = move(source=seen(SOURCE, P.SENDING, O.MOVE), destination=seen(DESTINATION, P.INCOMING, O.PREPARE))

    def test_goes_on(self):
        assert course(self.ON_ITS_WAY) == self.ON_ITS_WAY.course

    def test_commit(self):
        figures = Figures(elapsed_seconds=4.0, memory_sent_mib=300.0, disk_sent_mib=20.0, rounds=5, downtime_ms=66.0)
        one = move(
            source=seen(SOURCE, P.NONE, O.MOVE, over=True, figures=figures, mode=MoveMode.MULTIFD),
            destination=seen(DESTINATION, P.LIVE, O.PREPARE, went=True, gap_ms=80.0),
        )
        found = decide(one, FREE, NOW)
        assert (found.course.state, found.act) == (S.FINISHING, Act.COMMIT)
        assert found.course.orders == {SOURCE: O.CLEAN, DESTINATION: O.TAKE}
        out = found.course.outcome
        assert (out.total_seconds, out.sent_mib, out.rounds, out.downtime_ms, out.gap_ms, out.mode) == (4.0, 320.0, 5, 66.0, 80.0, MoveMode.MULTIFD)

    def test_a_guest_given_up_goes_where_go_was_lost(self):
        one = move(source=seen(SOURCE, P.NONE, O.MOVE, over=True), destination=seen(DESTINATION, P.INCOMING, O.PREPARE))
        assert decide(one, FREE, NOW).act is Act.COMMIT

    @pytest.mark.parametrize(
        ("one", "now"), [(replace(ON_ITS_WAY, spec=replace(ON_ITS_WAY.spec, cancelled=True)), NOW), (ON_ITS_WAY, 111.0 + Terms().seconds_max)]
    )
    def test_cancelling_asks_and_waits(self, one, now):
        found = course(one, now=now)
        assert (found.state, found.orders[SOURCE], found.orders[DESTINATION]) == (S.MOVING, O.CANCEL, O.PREPARE)

    def test_over_at_the_source(self):
        found = course(move(source=seen(SOURCE, P.LIVE, O.MOVE, over=True, error=PROBLEM), destination=READY))
        assert (found.state, found.error) == (S.ABORTING, PROBLEM)

    def test_stopped_at_the_source_is_withdrawn_first(self):
        one = move(source=seen(SOURCE, P.HALTED, O.MOVE, over=True), destination=seen(DESTINATION, P.INCOMING, O.PREPARE))
        found = decide(one, FREE, NOW)
        assert (found.course.state, found.course.orders, found.act) == (S.MOVING, {SOURCE: O.MOVE, DESTINATION: O.WITHDRAW}, Act.NOTHING)
        gone = replace(one, course=found.course, destination=seen(DESTINATION, P.NONE, O.WITHDRAW, clean=True))
        assert course(gone).orders == {SOURCE: O.RELEASE, DESTINATION: O.WITHDRAW}

    def test_unknown_says_why_and_keeps_its_orders(self):
        one = replace(self.ON_ITS_WAY, source_heard=False)
        found = course(one)
        assert (found.state, found.orders) == (S.UNKNOWN, one.course.orders)
        assert "source" in found.why
        assert course(replace(one, course=found, source_heard=True)).state is S.MOVING

    def test_a_broken_postcopy_is_recovered(self):
        one = move(source=seen(SOURCE, P.POSTCOPY_BROKEN, O.MOVE), destination=seen(DESTINATION, P.POSTCOPY_BROKEN, O.PREPARE, went=True))
        assert course(one).orders[SOURCE] is O.RECOVER


class TestWhy:
    """The source's libvirt often knows only that its connection is closed; the destination knows why it closed it."""

    CLOSED = Problem("migration_failed", "client socket is closed")
    LOST = Problem("door_lost", "host b ended the connection")
    REFUSED = Problem("call_refused", "the peer's libvirt asked for what has no place in a move")

    @pytest.mark.parametrize(
        ("source", "destination", "told"),
        [
            (CLOSED, REFUSED, REFUSED),
            (LOST, REFUSED, REFUSED),
            (LOST, None, LOST),
            (CLOSED, None, CLOSED),
            (PROBLEM, REFUSED, PROBLEM),
            (None, REFUSED, REFUSED),
        ],
    )
    def test_a_move_that_failed(self, source, destination, told):
        ends = {
            "source": seen(SOURCE, P.LIVE, O.MOVE, over=True, error=source),
            "destination": seen(DESTINATION, P.NONE, O.PREPARE, error=destination),
        }
        found = course(move(**ends))
        assert (found.state, found.error) == (S.ABORTING, told)

    def test_it_is_told_also_when_it_comes_later(self):
        one = move(S.ABORTING, destination=seen(DESTINATION, P.NONE, O.WITHDRAW, busy=True, error=self.REFUSED))
        found = course(replace(one, course=replace(one.course, error=self.CLOSED, why=self.CLOSED.detail)))
        assert (found.state, found.error, found.why) == (S.ABORTING, self.REFUSED, self.REFUSED.detail)

    def test_who_cancelled_is_told_nothing_else(self):
        asked = Problem("migration_cancelled", "asked")
        one = move(S.ABORTING, destination=seen(DESTINATION, P.NONE, O.WITHDRAW, error=self.REFUSED))
        assert course(replace(one, course=replace(one.course, error=asked))).error == asked


class TestEnds:
    def test_done_once_both_have_done_their_part(self):
        cleaned, taken = seen(SOURCE, P.NONE, O.CLEAN, clean=True), seen(DESTINATION, P.LIVE, O.TAKE, went=True)
        found = decide(move(S.FINISHING, source=cleaned, destination=taken), FREE, NOW)
        assert (found.course.state, found.course.orders, found.act) == (S.DONE, {}, Act.NOTHING)
        for source, destination in [(replace(cleaned, clean=False), taken), (cleaned, replace(taken, busy=True)), (replace(cleaned, order=O.MOVE), taken)]:
            assert course(move(S.FINISHING, source=source, destination=destination)).state is S.FINISHING

    def test_the_outcome_is_what_the_source_says_last(self):
        early, last = Figures(elapsed_seconds=3.0, downtime_ms=102.0), Figures(elapsed_seconds=4.0, downtime_ms=66.0)
        one = move(source=seen(SOURCE, P.HALTED, O.MOVE, figures=early), destination=seen(DESTINATION, P.LIVE, O.PREPARE, went=True))
        committed = replace(one, course=course(one))
        assert committed.course.outcome.downtime_ms == 102.0
        cleaned = seen(SOURCE, P.NONE, O.CLEAN, clean=True, over=True, figures=last, gap_ms=80.0)
        done = course(replace(committed, source=cleaned, destination=seen(DESTINATION, P.LIVE, O.TAKE, went=True)))
        assert (done.outcome.total_seconds, done.outcome.downtime_ms, done.outcome.gap_ms) == (4.0, 66.0, 80.0)

    @pytest.mark.parametrize(("cancelled", "end"), [(True, S.CANCELLED), (False, S.FAILED)])
    def test_aborted_once_both_have_done_their_part(self, cancelled, end):
        released, withdrawn = seen(SOURCE, P.LIVE, O.RELEASE), seen(DESTINATION, P.NONE, O.WITHDRAW, clean=True)
        one = move(S.ABORTING, source=released, destination=withdrawn)
        why = Problem("migration_cancelled", "asked") if cancelled else PROBLEM
        found = decide(replace(one, course=replace(one.course, error=why)), FREE, NOW)
        assert (found.course.state, found.act) == (end, Act.DROP)
        for source, destination in [(released, replace(withdrawn, clean=False)), (replace(released, busy=True), withdrawn), (None, withdrawn)]:
            assert course(move(S.ABORTING, source=source, destination=destination)).state is S.ABORTING


def every_testimony(end):
    for presence, order, over, went, clean, ready in itertools.product(P, O, *[(False, True)] * 4):
        yield seen(end, presence, order, over=over, went=went, clean=clean, ready=ready)


def test_no_testimony_leads_outside_the_table():
    """Whatever the ends say: the next state is one that may follow, an ended move stays ended, and the claim moves only at a commit or an end."""
    sources, destinations = list(every_testimony(SOURCE))[::7], list(every_testimony(DESTINATION))[::11]
    for state, source, destination in itertools.product(S, sources, destinations):
        found = decide(move(state, source=source, destination=destination), FREE, NOW)
        assert found.course.state is state or found.course.state in NEXT[state]
        assert (found.act is Act.COMMIT) is (found.course.state is S.FINISHING and state is not S.FINISHING)
        assert (found.act is Act.DROP) is (found.course.state in (S.FAILED, S.CANCELLED) and state not in ENDED)
        assert state not in ENDED or found.course.state is state
