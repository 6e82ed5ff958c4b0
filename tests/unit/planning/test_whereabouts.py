"""The table of docs/rfd/0002-fleet.md, cell by cell."""

from dataclasses import replace

import pytest

from houyi.model.errors import Problem
from houyi.model.migration import End, Landing, MigrationKind, Order, Presence
from houyi.planning.migration.whereabouts import Place, whereabouts
from unit.planning.moves import move, seen

NONE, OFF, LIVE, SENDING, HALTED = Presence.NONE, Presence.OFF, Presence.LIVE, Presence.SENDING, Presence.HALTED
INCOMING, ARRIVED, POSTCOPY, BROKEN = Presence.INCOMING, Presence.ARRIVED, Presence.POSTCOPY, Presence.POSTCOPY_BROKEN
UNHEARD = None
WENT = "went"
"""Executes at the destination."""

HERE, THERE, MOVING, FIRST, RECOVER, UNKNOWN, ALARM = (
    Place.SOURCE,
    Place.DESTINATION,
    Place.MOVING,
    Place.WITHDRAW_FIRST,
    Place.RECOVER,
    Place.UNKNOWN,
    Place.ALARM,
)
COLUMNS = (NONE, INCOMING, WENT, POSTCOPY, BROKEN, UNHEARD)
TABLE = {
    # source (over?): destination   NONE      INCOMING  WENT    POSTCOPY  BROKEN    not heard
    (LIVE, True): (HERE, HERE, ALARM, ALARM, ALARM, HERE),
    (LIVE, False): (MOVING, MOVING, THERE, MOVING, MOVING, MOVING),
    (SENDING, False): (MOVING, MOVING, THERE, MOVING, MOVING, MOVING),
    (HALTED, False): (MOVING, MOVING, THERE, MOVING, RECOVER, UNKNOWN),
    (HALTED, True): (FIRST, FIRST, THERE, MOVING, RECOVER, UNKNOWN),
    (NONE, False): (THERE, THERE, THERE, THERE, THERE, THERE),
    (NONE, True): (THERE, THERE, THERE, THERE, THERE, THERE),
    (OFF, True): (FIRST, FIRST, THERE, THERE, THERE, UNKNOWN),
    (OFF, False): (MOVING, MOVING, THERE, THERE, THERE, UNKNOWN),
    (POSTCOPY, False): (MOVING, MOVING, THERE, MOVING, RECOVER, UNKNOWN),
    (BROKEN, False): (RECOVER, RECOVER, THERE, RECOVER, RECOVER, UNKNOWN),
    (BROKEN, True): (RECOVER, RECOVER, THERE, RECOVER, RECOVER, UNKNOWN),
    (UNHEARD, False): (UNKNOWN, UNKNOWN, THERE, UNKNOWN, UNKNOWN, UNKNOWN),
}
CELLS = [(source, over, column, place) for (source, over), row in TABLE.items() for column, place in zip(COLUMNS, row, strict=True)]


@pytest.mark.parametrize(("source", "over", "destination", "place"), CELLS)
def test_table(source, over, destination, place):
    one = move(
        source=None if source is UNHEARD else seen(End.SOURCE, source, Order.MOVE, over=over),
        destination=None
        if destination is UNHEARD
        else seen(End.DESTINATION, LIVE if destination is WENT else destination, Order.PREPARE, went=destination in (WENT, POSTCOPY, BROKEN)),
    )
    assert whereabouts(one).place is place


def test_table_is_whole():
    """Every presence that a source can have is in it."""
    assert {source for source, _ in TABLE} == {*Presence, None} - {INCOMING, ARRIVED}


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        (seen(End.DESTINATION, ARRIVED, Order.PREPARE), MOVING),
        (seen(End.DESTINATION, ARRIVED, Order.WITHDRAW, busy=True), MOVING),
        (seen(End.DESTINATION, NONE, Order.WITHDRAW, busy=True), MOVING),
        (seen(End.DESTINATION, NONE, Order.WITHDRAW, clean=True), HERE),
        (seen(End.DESTINATION, LIVE, Order.WITHDRAW, went=True), THERE),
        (None, UNKNOWN),
    ],
)
def test_given_up_after_what_arrived_was_ordered_to_be_withdrawn(destination, place):
    """The source's libvirt took long to let go of it, and its agent died meanwhile. Found by test_paper.py: both copies of the disk were removed."""
    orders = {End.SOURCE: Order.MOVE, End.DESTINATION: Order.WITHDRAW}
    assert whereabouts(move(source=seen(End.SOURCE, NONE, Order.MOVE, over=True), destination=destination, orders=orders)).place is place


class TestSilence:
    """A host that is not heard of is believed only what cannot change meanwhile."""

    @pytest.mark.parametrize(("presence", "over", "place"), [(LIVE, True, HERE), (LIVE, False, UNKNOWN), (SENDING, False, UNKNOWN), (NONE, False, THERE)])
    def test_source(self, presence, over, place):
        one = move(source=seen(End.SOURCE, presence, Order.MOVE, over=over), destination=seen(End.DESTINATION, INCOMING, Order.PREPARE))
        assert whereabouts(replace(one, source_heard=False)).place is place

    @pytest.mark.parametrize(("presence", "went", "place"), [(LIVE, True, THERE), (NONE, True, THERE), (OFF, True, THERE), (INCOMING, False, UNKNOWN)])
    def test_destination(self, presence, went, place):
        one = move(source=seen(End.SOURCE, HALTED, Order.MOVE, over=True), destination=seen(End.DESTINATION, presence, Order.PREPARE, went=went))
        assert whereabouts(replace(one, destination_heard=False)).place is place

    def test_nothing_is_known_of_a_source_that_said_nothing_yet(self):
        one = move(source=seen(End.SOURCE, NONE, Order.STAND_BY), destination=seen(End.DESTINATION, INCOMING, Order.PREPARE))
        assert whereabouts(replace(one, source_heard=False)).place is UNKNOWN


class TestWithdrawn:
    """A guest that stopped at its source goes on there only after the destination has testified that its copy is gone and never ran."""

    @pytest.mark.parametrize("presence", [HALTED, OFF])
    def test_after_it(self, presence):
        gone = seen(End.DESTINATION, NONE, Order.WITHDRAW, clean=True)
        assert whereabouts(move(source=seen(End.SOURCE, presence, Order.MOVE, over=True), destination=gone)).place is HERE

    def test_also_when_the_destination_has_fallen_silent_since(self):
        one = move(source=seen(End.SOURCE, HALTED, Order.MOVE, over=True), destination=seen(End.DESTINATION, NONE, Order.WITHDRAW, clean=True))
        assert whereabouts(replace(one, destination_heard=False)).place is HERE

    def test_not_while_it_is_being_done(self):
        busy = seen(End.DESTINATION, NONE, Order.WITHDRAW, busy=True)
        assert whereabouts(move(source=seen(End.SOURCE, HALTED, Order.MOVE, over=True), destination=busy)).place is FIRST

    def test_not_if_it_went(self):
        """GO was faster than WITHDRAW."""
        went = seen(End.DESTINATION, LIVE, Order.WITHDRAW, went=True)
        assert whereabouts(move(source=seen(End.SOURCE, OFF, Order.MOVE, over=True), destination=went)).place is THERE


class TestPostcopy:
    def test_stays_in_two_halves_though_it_went(self):
        one = move(source=seen(End.SOURCE, POSTCOPY, Order.MOVE), destination=seen(End.DESTINATION, POSTCOPY, Order.PREPARE, went=True))
        assert whereabouts(one).place is MOVING

    def test_lost_at_the_destination(self):
        one = move(source=seen(End.SOURCE, BROKEN, Order.MOVE, over=True), destination=seen(End.DESTINATION, OFF, Order.PREPARE, went=True))
        assert whereabouts(one).place is THERE

    def test_an_empty_destination_is_believed_after_a_recovery_has_failed(self):
        failed = seen(End.SOURCE, BROKEN, Order.RECOVER, over=True, error=Problem("migration_failed", "nobody there"))
        assert whereabouts(move(source=failed, destination=seen(End.DESTINATION, NONE, Order.PREPARE))).place is THERE


class TestCold:
    @pytest.mark.parametrize(
        ("over", "error", "place"),
        [(False, None, MOVING), (True, None, THERE), (True, Problem("disk_full", "full"), HERE)],
    )
    def test_is_where_its_newest_disk_is(self, over, error, place):
        one = move(
            kind=MigrationKind.COLD, source=seen(End.SOURCE, OFF, Order.MOVE, over=over, error=error), destination=seen(End.DESTINATION, NONE, Order.PREPARE)
        )
        assert whereabouts(one).place is place


class TestLost:
    """A host was removed as lost for good: what the other has is the newest that there is."""

    LANDING = Landing(address="b", port=1, tls_name="b")
    SHARED = replace(LANDING, copies_disk=False)

    @pytest.mark.parametrize(
        ("presence", "over", "place"),
        [
            (LIVE, True, HERE),
            (LIVE, False, MOVING),
            (SENDING, False, MOVING),
            (HALTED, False, MOVING),
            (HALTED, True, HERE),
            (OFF, False, HERE),
            (NONE, False, HERE),
            (POSTCOPY, False, MOVING),
            (BROKEN, False, HERE),
        ],
    )
    @pytest.mark.parametrize("last_word", [None, INCOMING, LIVE])
    def test_destination(self, presence, over, place, last_word):
        """Whatever it said last, and also of a guest that had gone there."""
        told = None if last_word is None else seen(End.DESTINATION, last_word, Order.PREPARE, went=last_word is LIVE)
        one = move(source=seen(End.SOURCE, presence, Order.MOVE, over=over), destination=told)
        assert whereabouts(replace(one, gone=frozenset({one.destination_id}), destination_heard=False)).place is place
        silent = replace(one, gone=frozenset({one.destination_id}), destination_heard=False, source_heard=False)
        assert whereabouts(silent).place is (HERE if over else HERE if presence is NONE else UNKNOWN)

    @pytest.mark.parametrize(
        ("told", "place"),
        [
            (None, UNKNOWN),
            (seen(End.DESTINATION, NONE, Order.PREPARE), HERE),
            (seen(End.DESTINATION, INCOMING, Order.PREPARE, landing=LANDING), HERE),
            (seen(End.DESTINATION, ARRIVED, Order.PREPARE, landing=LANDING), THERE),
            (seen(End.DESTINATION, ARRIVED, Order.PREPARE, landing=SHARED), HERE),  # its disk may be newer than its memory
            (seen(End.DESTINATION, LIVE, Order.PREPARE, went=True), THERE),
            (seen(End.DESTINATION, OFF, Order.PREPARE, went=True), THERE),
            (seen(End.DESTINATION, BROKEN, Order.PREPARE, went=True), THERE),
        ],
    )
    def test_source(self, told, place):
        one = move(source=seen(End.SOURCE, SENDING, Order.MOVE), destination=told)
        assert whereabouts(replace(one, gone=frozenset({one.source_id}), source_heard=False)).place is place

    def test_a_source_that_had_said_that_it_stays_there(self):
        arrived = seen(End.DESTINATION, ARRIVED, Order.PREPARE, landing=self.LANDING)
        one = move(source=seen(End.SOURCE, LIVE, Order.MOVE, over=True), destination=arrived)
        assert whereabouts(replace(one, gone=frozenset({one.source_id}), source_heard=False)).place is HERE

    def test_both(self):
        one = move(source=seen(End.SOURCE, LIVE, Order.MOVE), destination=None)
        assert whereabouts(replace(one, gone=frozenset({one.source_id, one.destination_id}))).place is HERE

    @pytest.mark.parametrize(("over", "error", "place"), [(False, None, HERE), (True, None, THERE), (True, Problem("disk_full", "full"), HERE)])
    def test_source_of_a_stopped_one(self, over, error, place):
        one = move(kind=MigrationKind.COLD, source=seen(End.SOURCE, OFF, Order.MOVE, over=over, error=error), destination=None)
        assert whereabouts(replace(one, gone=frozenset({one.source_id}), source_heard=False)).place is place
