"""How both clients wait: they look until it is done, tell each look, and say how it ended."""

import pytest

from houyi.model.errors import Failed, Problem, Unavailable
from houyi.model.operation import OperationState
from houyi.sdk.waiting import LOOK_SECONDS, Wait
from houyi.wire.v1.operation import Operation, show_operation
from made import MINE, an_operation


def at(state: OperationState, error: Problem | None = None) -> Operation:
    return show_operation(an_operation(MINE, state=state, error=error))


def test_it_looks_as_long_as_there_is_time() -> None:
    seen: list[OperationState] = []
    wait = Wait(10.0, 110.0, lambda operation: seen.append(operation.state))
    assert wait.next_look(at(OperationState.QUEUED), 100.0) == LOOK_SECONDS
    assert wait.next_look(at(OperationState.RUNNING), 109.5) == 0.5
    assert wait.next_look(at(OperationState.DONE), 111.0) is None, "done is done, also late"
    assert seen == [OperationState.QUEUED, OperationState.RUNNING, OperationState.DONE]
    with pytest.raises(Unavailable) as late:
        wait.next_look(at(OperationState.RUNNING), 110.0)
    assert late.value.code == "wait_timeout"


@pytest.mark.parametrize(
    ("state", "error", "code"),
    [
        (OperationState.FAILED, Problem("disk_full", "make room"), "disk_full"),
        (OperationState.FAILED, None, "operation_failed"),
        (OperationState.CANCELLED, None, "operation_cancelled"),
    ],
)
def test_it_says_how_it_ended(state: OperationState, error: Problem | None, code: str) -> None:
    with pytest.raises(Failed) as ended:
        Wait(10.0, 110.0).next_look(at(state, error), 100.0)
    assert ended.value.code == code
