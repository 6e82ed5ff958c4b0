"""Operations as JSON."""

from pydantic import Field

from houyi.model.operation import Operation as ModelOperation
from houyi.model.operation import OperationState
from houyi.wire.v1.shape import Failure, Id, Page, Revision, Shown, Time, failure, rfc3339, rfc3339_or_none


class Operation(Shown):
    id: Id
    project_id: Id
    verb: str = Field(description="'vm.create', 'vm.start', 'image.import' ...")
    target_kind: str
    target_id: Id
    state: OperationState
    progress: float = Field(description="0..1.")
    stage: str = Field(description="What is being done.")
    blocked_on: str = Field(description="What it waits for; empty: nothing.")
    cancellable: bool
    error: Failure | None
    created_at: Time
    ended_at: Time | None
    request_id: str
    revision: Revision


class OperationPage(Page[Operation]):
    """A page of operations."""


def show_operation(operation: ModelOperation) -> Operation:
    return Operation(
        id=operation.id,
        project_id=operation.project_id,
        verb=operation.verb,
        target_kind=operation.target_kind,
        target_id=operation.target_id,
        state=operation.state,
        progress=operation.progress,
        stage=operation.stage,
        blocked_on=operation.blocked_on,
        cancellable=operation.cancellable,
        error=failure(operation.error),
        created_at=rfc3339(operation.created_at),
        ended_at=rfc3339_or_none(operation.ended_at),
        request_id=operation.request_id,
        revision=operation.revision,
    )
