"""What a decision about a move means, as mutations of one transaction. Written by its workflow; and by who removes a lost host, since the VM's home has to
change hands with it.
"""

from collections.abc import Mapping
from dataclasses import replace

from houyi.control.control import PLATFORM, Control, new_event
from houyi.model.errors import NotFound
from houyi.model.migration import Migration, MigrationCourse, MigrationState
from houyi.model.operation import ENDED, Operation
from houyi.planning.migration.course import Act, Decision
from houyi.planning.migration.progress import progress_of_move
from houyi.store.claims import drop_landing, settle_landing
from houyi.store.courses import move_course
from houyi.store.journal import move_operation
from houyi.store.mutation import Mutation, touch
from houyi.store.views.operation import get_operation
from houyi.store.views.vm import vms_by_id

_TOLD: Mapping[MigrationState, tuple[str, str]] = {
    MigrationState.MOVING: ("vm.migration_started", "on its way"),
    MigrationState.UNKNOWN: ("vm.migration_unknown", "it cannot be told where it runs"),
    MigrationState.FINISHING: ("vm.migrated", "it lives at its destination"),
    MigrationState.ABORTING: ("vm.migration_failed", "it stays where it was"),
}
"""What becomes an event of the VM, when a move comes into this state."""


async def following(control: Control, migration: Migration, decision: Decision) -> list[Mutation]:
    """What a decision means, for one transaction: the course, what follows from it, and how far the operation is; nothing when nothing has changed."""
    after = replace(migration, course=decision.course)
    mutations = await _operation(control, after)
    if decision.course != migration.course:
        mutations += [move_course(migration, decision.course), touch("vm", migration.vm_id, migration.project_id), *_event(control, migration, decision.course)]
    match decision.act:
        case Act.COMMIT if migration.vm_id in await control.store.read(lambda c: vms_by_id(c, [migration.vm_id])):
            mutations.append(settle_landing(migration))
        case Act.DROP:
            mutations.append(drop_landing(migration))
        case _:
            pass
    return mutations


async def _operation(control: Control, after: Migration) -> list[Mutation]:
    try:
        operation = await control.store.read(lambda c: get_operation(c, after.operation_id, None))
    except NotFound:
        return []
    moved = _moved(operation, after, control.clock.now())
    return [] if operation.state in ENDED or moved == operation else [move_operation(moved)]


def _moved(operation: Operation, after: Migration, at: float) -> Operation:
    now = progress_of_move(after)
    return replace(
        operation,
        state=now.state,
        progress=max(operation.progress, now.progress),
        stage=now.stage,
        blocked_on=now.blocked_on,
        error=now.error,
        cancellable=after.course.state not in (MigrationState.FINISHING, MigrationState.ABORTING),
        ended_at=at if now.state in ENDED else 0.0,
    )


def _event(control: Control, migration: Migration, course: MigrationCourse) -> list[Mutation]:
    told = _TOLD.get(course.state)
    if told is None or course.state is migration.course.state:
        return []
    kind, detail = told
    if course.state is MigrationState.MOVING and migration.course.state is MigrationState.UNKNOWN:
        kind, detail = "vm.migration_known", "it is known again where it runs"
    data = {"migration": migration.id, "source": migration.source_id, "destination": migration.destination_id}
    if course.error is not None:
        data["code"] = course.error.code
    text = f"{detail}: {course.why}" if course.why else detail
    return [new_event(control, PLATFORM, kind, migration.vm_id, migration.vm_name, text, project_id=migration.project_id, data=data)]
