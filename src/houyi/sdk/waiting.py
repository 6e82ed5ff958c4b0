"""When an operation is over, and how it ended."""

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


def overdue(operation: Operation, timeout_seconds: float) -> Unavailable:
    return Unavailable("wait_timeout", f"{operation.verb} is not done after {timeout_seconds:.0f} s but goes on: wait for operation {operation.id} again")
