"""How far the operation of a move is. Pure."""

from houyi.model.errors import Problem
from houyi.model.migration import Migration, MigrationState, Order
from houyi.model.operation import OperationState
from houyi.planning.migration.course import CANCELLED
from houyi.planning.operations import Progress

_S = MigrationState


def progress_of_move(migration: Migration) -> Progress:
    """Its end is the guest's: what has still to be tidied up after it holds nobody up."""
    course, source, destination = migration.course, migration.source, migration.destination
    match course.state:
        case MigrationState.QUEUED:
            return Progress(state=OperationState.QUEUED, stage="waiting for its turn", blocked_on=course.why)
        case MigrationState.PREPARING:
            share, stage = (destination.progress, destination.stage) if destination is not None else (0.0, "")
            return Progress(state=OperationState.RUNNING, progress=round(0.02 + 0.18 * share, 2), stage=stage or "preparing the destination")
        case MigrationState.MOVING:
            share, stage = (source.progress, source.stage) if source is not None else (0.0, "")
            return Progress(state=OperationState.RUNNING, progress=round(0.2 + 0.75 * share, 2), stage=stage or "moving", blocked_on=course.why)
        case MigrationState.UNKNOWN:
            return Progress(state=OperationState.RUNNING, progress=0.2, stage="waiting for evidence where the VM lives", blocked_on=course.why)
        case MigrationState.FINISHING if destination is None or destination.order is not Order.TAKE or destination.busy:
            return Progress(state=OperationState.RUNNING, progress=0.97, stage="taking it over")
        case MigrationState.FINISHING | MigrationState.DONE:
            return Progress(state=OperationState.DONE, progress=1.0, stage="done")
        case MigrationState.ABORTING if source is None or source.order is not Order.RELEASE or source.busy:
            return Progress(
                state=OperationState.RUNNING, progress=0.2, stage="going back", blocked_on="" if migration.source_heard else "the source host is not heard of"
            )
        case _:
            cancelled = course.error is None or course.error.code == CANCELLED
            error = course.error or Problem(CANCELLED, "cancelled; the VM stays where it was")
            return Progress(
                state=OperationState.CANCELLED if cancelled else OperationState.FAILED, progress=0.2, stage="cancelled" if cancelled else "failed", error=error
            )
