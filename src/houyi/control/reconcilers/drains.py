"""Goal: a host that is to be drained has no VMs. It moves them, a few at once, goes on past one that fails, and never stops any.

What it knows is in the store: the moves that it asked for, and how each ended. Whichever server runs it goes on where the last one was.
"""

from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.commands.migration import MigrationAsk, migrate_vm
from houyi.control.control import PLATFORM, Control, new_event
from houyi.control.drains import REASON, foresee
from houyi.model.errors import HouyiError, NotFound
from houyi.model.host import Host
from houyi.model.ids import OperationId
from houyi.model.operation import ENDED, Operation, OperationState
from houyi.planning.drain import Departure, Standing, due, standing
from houyi.store.journal import move_operation
from houyi.store.mutation import Mutation
from houyi.store.views.host import draining_hosts
from houyi.store.views.migration import moves_away
from houyi.store.views.operation import get_operation

log = get_log(__name__)

PRIORITY = 10
"""Before what people ask for: who drains a host waits for it."""


async def drain_hosts(control: Control) -> None:
    """One pass. A host that cannot be looked at now holds up no other."""
    for host in await control.store.read(draining_hosts):
        try:
            await _drain(control, host)
        except HouyiError as refused:  # the store is away, or somebody else has written meanwhile: the next pass looks again
            log.info("drain_later", host=host.id, code=refused.code)


async def _drain(control: Control, host: Host) -> None:
    operation = await _operation(control, host.drain_id)
    since = operation.created_at if operation is not None else 0.0
    moves = await control.store.read(lambda c: moves_away(c, host.id, REASON, since))
    plan = await foresee(control, host)
    for departure in due(plan, moves, control.clock.now()):
        await _begin(control, host, departure)
    if operation is not None and operation.state not in ENDED:
        moves = await control.store.read(lambda c: moves_away(c, host.id, REASON, since))
        await _tell(control, host, operation, standing(plan, moves, empty=not any(host.claimed.values())))


async def _operation(control: Control, operation_id: OperationId | None) -> Operation | None:
    """None: it has been forgotten since; the host is drained all the same."""
    try:
        return await control.store.read(lambda c: get_operation(c, operation_id or "", None))
    except NotFound:
        return None


async def _begin(control: Control, host: Host, departure: Departure) -> None:
    """Asked for as anybody would: every check is made again."""
    ask = MigrationAsk(to=departure.destination_id or "", priority=PRIORITY, reason=REASON)
    try:
        await migrate_vm(control, PLATFORM, departure.vm_id, ask)
    except HouyiError as refused:
        log.info("drain_move_refused", host=host.id, vm=departure.vm_id, code=refused.code, detail=refused.detail)


async def _tell(control: Control, host: Host, operation: Operation, now: Standing) -> None:
    moved = replace(
        operation,
        state=OperationState.DONE if now.done else OperationState.RUNNING,
        progress=max(operation.progress, now.progress),
        stage=now.stage,
        blocked_on=now.blocked_on,
        cancellable=not now.done,
        ended_at=control.clock.now() if now.done else 0.0,
    )
    if moved == operation:
        return
    mutations: list[Mutation] = [move_operation(moved)]
    if now.done:
        mutations.append(new_event(control, PLATFORM, "host.maintenance", host.id, host.name, now.stage, project_id=None))
    elif now.blocked_on and now.blocked_on != operation.blocked_on:
        mutations.append(new_event(control, PLATFORM, "host.drain_blocked", host.id, host.name, now.blocked_on, project_id=None))
    await control.store.apply(mutations)
