"""What may be asked of operations: to stop, where that is possible."""

from dataclasses import replace

from houyi.control.commands.experiment import cancel_experiment_of
from houyi.control.commands.host import cancel_drain
from houyi.control.commands.migration import cancel_migration_of
from houyi.control.control import Context, Control, remembered
from houyi.model.errors import Conflict
from houyi.model.operation import DRAIN, ENDED, MIGRATE, TUNE, Operation, OperationState
from houyi.store.journal import move_operation
from houyi.store.views.operation import get_operation


async def cancel_operation(control: Control, ctx: Context, operation_id: str) -> Operation:
    """At once, or as soon as it can be: the operation of a move or an experiment ends with it. :raise Conflict: `operation_ended`, `not_cancellable`."""
    operation = await control.store.read(lambda c: get_operation(c, operation_id, ctx.scope))
    if operation.state in ENDED:
        raise Conflict("operation_ended", f"the operation is {operation.state.value} already")
    if not operation.cancellable:
        raise Conflict("not_cancellable", f"a {operation.verb} cannot be cancelled: ask for the opposite instead (stop, delete)")
    if operation.verb == DRAIN:
        return await cancel_drain(control, ctx, operation)
    if operation.verb == MIGRATE:
        return await cancel_migration_of(control, ctx, operation)
    if operation.verb == TUNE:
        return await cancel_experiment_of(control, ctx, operation)
    ended = replace(operation, state=OperationState.CANCELLED, ended_at=control.clock.now(), stage="cancelled")
    revision = await control.store.apply([move_operation(ended), *remembered(control, ctx, ended)])
    control.hints.poke("images")
    return replace(ended, revision=revision)
