"""One end of a move: step by step, after a death of the agent at every point, and what may never be done."""

import itertools
from dataclasses import replace

import pytest

from houyi.model.errors import Problem
from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.migration import DesiredMove, End, MigrationKind, Order, Presence, Terms
from houyi.model.vm import Power
from houyi.planning.migration.ends import Here, MoveMemory, MoveStep, plan_end, seen_as
from made import a_vm, an_image

P, O, S = Presence, Order, MoveStep  # noqa: E741 - columns
SOURCE, DESTINATION = End.SOURCE, End.DESTINATION
EMPTY = MoveMemory(vm_id=VmId("v"))
VM = a_vm(an_image(), epoch=2)


def move(end: End, order: Order, kind: MigrationKind = MigrationKind.LIVE) -> DesiredMove:
    return DesiredMove(id=MigrationId("m"), vm=VM, end=end, order=order, kind=kind, peer=HostId("p"), terms=Terms())


def here(presence: Presence, **more: bool) -> Here:
    return Here(presence=presence, files=more.pop("files", True), held=more.pop("held", True), **more)


def steps(end: End, order: Order, seen: Here, memory: MoveMemory = EMPTY) -> tuple[MoveStep, ...]:
    return plan_end(move(end, order), seen, replace(memory, order=order)).steps


class TestSource:
    @pytest.mark.parametrize(
        ("order", "seen", "memory", "expected"),
        [
            (O.STAND_BY, here(P.LIVE, held=False), EMPTY, (S.HOLD,)),
            (O.STAND_BY, here(P.LIVE), EMPTY, ()),
            (O.MOVE, here(P.LIVE, held=False), EMPTY, (S.HOLD,)),
            (O.MOVE, here(P.LIVE), EMPTY, (S.SEND,)),
            (O.MOVE, here(P.SENDING, running=True), replace(EMPTY, begun=True), ()),
            (O.MOVE, here(P.LIVE), replace(EMPTY, begun=True, over=True), ()),
            # the agent was restarted meanwhile
            (O.MOVE, here(P.SENDING), replace(EMPTY, begun=True), (S.ABORT,)),
            (O.MOVE, here(P.POSTCOPY), replace(EMPTY, begun=True), ()),
            (O.MOVE, here(P.LIVE), replace(EMPTY, begun=True), (S.OVER,)),
            (O.MOVE, here(P.HALTED), replace(EMPTY, begun=True), (S.OVER,)),
            (O.MOVE, here(P.NONE), replace(EMPTY, begun=True), (S.OVER,)),
            (O.CANCEL, here(P.LIVE), EMPTY, (S.OVER,)),
            (O.CANCEL, here(P.SENDING, running=True), replace(EMPTY, begun=True), (S.ABORT,)),
            (O.CANCEL, here(P.LIVE), replace(EMPTY, begun=True, over=True), ()),
            (O.RECOVER, here(P.POSTCOPY_BROKEN), replace(EMPTY, begun=True, over=True), (S.RECOVER,)),
            (O.RECOVER, here(P.POSTCOPY_BROKEN, rested=False), replace(EMPTY, begun=True, over=True, recovered=True), ()),
            (O.RECOVER, here(P.POSTCOPY_BROKEN), replace(EMPTY, begun=True, over=True, recovered=True), (S.RECOVER,)),
            (O.RELEASE, here(P.LIVE), replace(EMPTY, over=True), (S.UNHOLD,)),
            (O.RELEASE, here(P.HALTED), replace(EMPTY, over=True), (S.RESUME, S.UNHOLD)),
            (O.RELEASE, here(P.OFF), replace(EMPTY, over=True), (S.UNHOLD,)),
            (O.RELEASE, here(P.POSTCOPY_BROKEN), replace(EMPTY, over=True), (S.DESTROY, S.UNHOLD)),
            (O.RELEASE, here(P.SENDING), EMPTY, (S.ABORT,)),
            (O.RELEASE, here(P.LIVE, held=False), replace(EMPTY, over=True), ()),
            (O.CLEAN, here(P.POSTCOPY, running=True), EMPTY, ()),
            (O.CLEAN, here(P.HALTED), EMPTY, (S.DESTROY,)),
            (O.CLEAN, here(P.NONE), EMPTY, (S.REMOVE,)),
            (O.CLEAN, here(P.NONE, files=False), EMPTY, (S.UNHOLD,)),
        ],
    )
    def test_steps(self, order, seen, memory, expected):
        assert steps(SOURCE, order, seen, memory) == expected

    def test_an_attempt_is_begun_once(self):
        first = plan_end(move(SOURCE, O.MOVE), here(P.LIVE), EMPTY)
        assert (first.steps, first.memory.begun) == ((S.SEND,), True)
        after = plan_end(move(SOURCE, O.MOVE), here(P.LIVE), first.memory)
        assert (after.steps, after.memory.over) == ((S.OVER,), True)
        assert plan_end(move(SOURCE, O.MOVE), here(P.LIVE), after.memory).steps == ()

    def test_given_up_while_nobody_looked_is_no_failure(self):
        found = plan_end(move(SOURCE, O.MOVE), here(P.NONE), replace(EMPTY, begun=True, order=O.MOVE))
        assert (found.memory.over, found.memory.error) == (True, None)

    def test_a_recovery_is_tried_anew_with_each_order(self):
        tried = replace(EMPTY, begun=True, over=True, recovered=True, order=O.RECOVER)
        again = plan_end(move(SOURCE, O.MOVE), here(P.POSTCOPY), tried).memory
        assert plan_end(move(SOURCE, O.RECOVER), here(P.POSTCOPY_BROKEN), again).steps == (S.RECOVER,)

    def test_a_guest_that_its_user_paused_is_not_resumed(self):
        ordered = move(SOURCE, O.RELEASE)
        paused = replace(ordered, vm=replace(VM, power=Power.PAUSED))
        assert plan_end(paused, here(P.HALTED), replace(EMPTY, over=True)).steps == (S.UNHOLD,)

    @pytest.mark.parametrize(
        ("presence", "order", "given_up", "expected"),
        [
            (P.LIVE, O.MOVE, True, P.HALTED),
            (P.SENDING, O.CANCEL, True, P.HALTED),
            (P.LIVE, O.CLEAN, True, P.HALTED),
            (P.LIVE, O.RELEASE, True, P.LIVE),
            (P.LIVE, O.MOVE, False, P.LIVE),
            (P.NONE, O.MOVE, True, P.NONE),
            (P.OFF, O.MOVE, True, P.OFF),
            (P.HALTED, O.RELEASE, True, P.HALTED),
        ],
    )
    def test_what_was_given_up_is_not_taken_for_the_guest(self, presence, order, given_up, expected):
        assert seen_as(presence, order, replace(EMPTY, given_up=given_up)) is expected

    def test_clean_when_nothing_is_left(self):
        assert plan_end(move(SOURCE, O.CLEAN), here(P.NONE, files=False, held=False), EMPTY).clean


class TestDestination:
    @pytest.mark.parametrize(
        ("order", "seen", "memory", "expected"),
        [
            (O.PREPARE, here(P.NONE, held=False, files=False), EMPTY, (S.HOLD, S.PREPARE, S.ADMIT)),
            (O.PREPARE, here(P.NONE), EMPTY, (S.PREPARE, S.ADMIT)),
            (O.PREPARE, here(P.INCOMING, prepared=True), EMPTY, (S.ADMIT,)),
            (O.PREPARE, here(P.INCOMING, prepared=True, admitted=True), EMPTY, ()),
            (O.PREPARE, here(P.NONE), replace(EMPTY, error=Problem("disk_full", "full")), ()),
            (O.TAKE, here(P.INCOMING, admitted=True), EMPTY, (S.GO,)),
            (O.TAKE, here(P.ARRIVED, admitted=True), EMPTY, (S.GO,)),
            (O.TAKE, here(P.ARRIVED, admitted=True), replace(EMPTY, withdrawn=True), (S.DESTROY,)),
            (O.TAKE, here(P.LIVE, admitted=True), replace(EMPTY, went=True), (S.SHUT, S.UNHOLD)),
            (O.TAKE, here(P.POSTCOPY_BROKEN), replace(EMPTY, went=True), (S.DESTROY,)),
            (O.TAKE, here(P.NONE), EMPTY, (S.UNHOLD,)),
            (O.TAKE, here(P.LIVE, held=False), replace(EMPTY, went=True), ()),
            (O.WITHDRAW, here(P.INCOMING), EMPTY, (S.WITHDRAWN,)),
            (O.WITHDRAW, here(P.INCOMING, admitted=True), replace(EMPTY, withdrawn=True), (S.SHUT, S.DESTROY, S.REMOVE, S.UNHOLD)),
            (O.WITHDRAW, here(P.LIVE), replace(EMPTY, went=True), ()),
        ],
    )
    def test_steps(self, order, seen, memory, expected):
        assert steps(DESTINATION, order, seen, memory) == expected

    def test_that_it_runs_by_itself_is_remembered(self):
        assert plan_end(move(DESTINATION, O.PREPARE), here(P.POSTCOPY), EMPTY).memory.went

    def test_a_cold_move_needs_the_door_too(self):
        assert plan_end(move(DESTINATION, O.PREPARE, MigrationKind.COLD), here(P.NONE), EMPTY).steps == (S.PREPARE, S.ADMIT)

    def test_clean_when_nothing_is_left(self):
        gone = here(P.NONE, files=False, held=False)
        assert plan_end(move(DESTINATION, O.WITHDRAW), gone, replace(EMPTY, withdrawn=True)).clean


MEMORIES = [
    replace(EMPTY, begun=begun, over=over, went=went, withdrawn=withdrawn)
    for begun, over, went, withdrawn in itertools.product((False, True), repeat=4)
    if not (went and withdrawn)
]
EVERYTHING = [
    (end, order, here(presence, held=held, files=files, running=running, admitted=admitted), memory)
    for end, order, presence, held, files, running, admitted, memory in itertools.product(End, Order, P, *[(False, True)] * 4, MEMORIES)
]


def test_what_may_never_be_done():
    """Over every combination of what can be seen, ordered and remembered."""
    for end, order, seen, memory in EVERYTHING:
        plan = plan_end(move(end, order), seen, memory)
        done = set(plan.steps)
        if S.GO in done:
            assert plan.memory.went
            assert not memory.withdrawn
        if S.WITHDRAWN in done or (order is O.WITHDRAW and S.DESTROY in done):
            assert not plan.memory.went, "what may have run is not destroyed by a withdrawal"
        if S.RESUME in done:
            assert (end, order) == (SOURCE, O.RELEASE)
        if S.REMOVE in done:
            assert order in (O.CLEAN, O.WITHDRAW)
        if S.SEND in done:
            assert (end, order) not in ((SOURCE, O.STAND_BY), (SOURCE, O.CANCEL))
            assert seen.held
            assert not memory.begun
        assert not (plan.clean and plan.steps)
        assert not (memory.went and not plan.memory.went)
        assert not (memory.withdrawn and plan.memory.went)
