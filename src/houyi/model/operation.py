"""An operation: something that takes time, with its progress and its end. It survives a restart of the server.

queued -> running -> done | failed | cancelled
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import OperationId, ProjectId


class OperationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


NEXT: Mapping[OperationState, frozenset[OperationState]] = {
    OperationState.QUEUED: frozenset({OperationState.RUNNING, OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED}),
    OperationState.RUNNING: frozenset({OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED}),
    OperationState.DONE: frozenset(),
    OperationState.FAILED: frozenset(),
    OperationState.CANCELLED: frozenset(),
}

MIGRATE = "vm.migrate"
"""The verb whose operation is moved on by the workflow of moves, not by the VM's generation."""

DRAIN = "host.drain"
"""The verb whose operation is moved on by the reconciler of drains."""

TUNE = "vm.tune"
"""The verb whose operation is moved on by the workflow of experiments."""

ENDED = frozenset({OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    id: OperationId
    project_id: ProjectId
    verb: str
    """'vm.create', 'vm.start', 'image.import' ..."""
    target_kind: str
    target_id: str
    target_generation: int
    """The generation whose being in force ends the operation (0: it ends by the target's own state)."""
    state: OperationState = OperationState.QUEUED
    progress: float = 0.0
    stage: str = ""
    blocked_on: str = ""
    cancellable: bool = False
    error: Problem | None = None
    created_at: float
    ended_at: float = 0.0
    request_id: str = ""
    revision: int = 0
