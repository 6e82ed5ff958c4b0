"""When an operation is over, how it ended, and how long to look before."""

from collections.abc import Callable
from dataclasses import dataclass

from houyi.model.errors import Failed, Unavailable
from houyi.model.operation import ENDED, OperationState
from houyi.wire.v1.operation import Operation

LOOK_SECONDS = 2.0
"""How long one look waits for the end at the server; progress is told at least this often."""


def ended(operation: Operation) -> bool:
    """Whether it is done. :raise Failed: it failed (with its own code) or was cancelled (`operation_cancelled`)."""
    if operation.state is OperationState.FAILED:
        error = operation.error
        raise Failed(error.code if error else "operation_failed", error.detail if error else "it failed without saying why: see the server's log")
    if operation.state is OperationState.CANCELLED:
        raise Failed("operation_cancelled", f"{operation.verb} was cancelled: ask for it again if it is still wanted")
    return operation.state in ENDED


@dataclass(frozen=True, slots=True)
class Wait:
    """For the end of one operation. :param deadline: in the caller's own time."""

    timeout_seconds: float
    deadline: float
    on_progress: Callable[[Operation], None] | None = None

    def next_look(self, operation: Operation, now: float) -> float | None:
        """For how many seconds the next look may wait at the server; None: it is done.

        :raise Failed: with the operation's own code, or `operation_cancelled`. :raise Unavailable: `wait_timeout`.
        """
        if self.on_progress is not None:
            self.on_progress(operation)
        if ended(operation):
            return None
        left = self.deadline - now
        if left > 0:
            return min(left, LOOK_SECONDS)
        raise Unavailable(
            "wait_timeout", f"{operation.verb} is not done after {self.timeout_seconds:.0f} s but goes on: wait for operation {operation.id} again"
        )
