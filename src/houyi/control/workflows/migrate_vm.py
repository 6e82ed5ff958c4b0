"""Moves of VMs: each pass looks at every move that has not ended, has its next course decided (planning.migration.course), and writes it.

Whatever follows from a course is in the same transaction: the claim that changes hands, the operation, the event. Whoever runs this, however
often, on however many servers: a course is only ever moved on from the one that was looked at.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import PLATFORM, Control, new_event
from houyi.model.errors import HouyiError, NotFound
from houyi.model.migration import ENDED as ENDED_MOVES
from houyi.model.migration import Migration, MigrationCourse, MigrationState
from houyi.model.operation import ENDED, Operation
from houyi.planning.migration.course import Act, Decision, Traffic, decide, in_turn
from houyi.planning.migration.progress import progress_of_move
from houyi.store.claims import drop_landing, settle_landing
from houyi.store.courses import move_course
from houyi.store.journal import move_operation
from houyi.store.mutation import Mutation, touch
from houyi.store.views.migration import open_migrations
from houyi.store.views.operation import get_operation
from houyi.store.views.vm import vms_by_id

log = get_log(__name__)

Decide = Callable[[Migration, Traffic, float], Decision]
"""`planning.migration.course.decide`, or what a test puts in its place."""

_TOLD: Mapping[MigrationState, tuple[str, str]] = {
    MigrationState.MOVING: ("vm.migration_started", "on its way"),
    MigrationState.UNKNOWN: ("vm.migration_unknown", "it cannot be told where it runs"),
    MigrationState.FINISHING: ("vm.migrated", "it lives at its destination"),
    MigrationState.ABORTING: ("vm.migration_failed", "it stays where it was"),
}
"""What becomes an event of the VM, when a move comes into this state."""


async def move_vms(control: Control, decide: Decide = decide) -> None:
    """One pass. One that cannot be moved on now holds up no other."""
    pending = in_turn(await control.store.read(open_migrations))
    for number, migration in enumerate(pending):
        decision = decide(migration, Traffic.of(pending), control.clock.now())
        try:
            await _write(control, migration, decision)
        except HouyiError as refused:  # another server has moved it on, or the store is away: the next pass looks again
            log.info("migration_not_moved_on", migration=migration.id, code=refused.code)
            continue
        pending[number] = replace(migration, course=decision.course)


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


async def _write(control: Control, migration: Migration, decision: Decision) -> None:
    mutations = await following(control, migration, decision)
    if not mutations:
        return
    await control.store.apply(mutations)
    if decision.course.state is not migration.course.state:
        log.info("migration", migration=migration.id, vm=migration.vm_id, state=decision.course.state.value, why=decision.course.why)
    if decision.act is not Act.NOTHING:
        control.hints.poke("placement")
        control.hints.poke("operations")
    if decision.course.state in ENDED_MOVES:
        control.hints.poke("drains")


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
