"""Goal: every operation on a VM (but its moves and experiments, which have workflows) shows how far it is, and ends when its generation is in force, has failed for good, or its VM is gone."""

import asyncio
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.control.placements import Ground, look
from houyi.model.errors import Conflict, NotFound
from houyi.model.operation import ENDED, MIGRATE, TUNE, Operation, OperationState
from houyi.model.vm import Vm
from houyi.planning.operations import Progress, progress_of
from houyi.planning.placement.fleet import Fleet
from houyi.store.journal import move_operation
from houyi.store.views.operation import open_with_vms

log = get_log(__name__)


async def move_operations(control: Control) -> None:
    """One pass over all open operations of VMs."""
    operations, vms = await control.store.read(open_with_vms)
    waiting = [vm.desired.spec for vm in vms.values() if vm.host_id is None]
    ground = await look(control, waiting) if waiting else None
    fleet = ground.fleet() if ground else None
    moves = []
    for operation in (one for one in operations if one.verb not in (MIGRATE, TUNE)):
        vm = vms.get(operation.target_id)
        blocked_on = "" if vm is None or vm.host_id is not None or vm.desired.deleted else _why_not(ground, fleet, vm)
        moved = _moved(operation, progress_of(operation, vm, blocked_on), control.clock.now())
        if moved != operation:
            moves.append(_move(control, moved))
    await asyncio.gather(*moves)  # at once, so that they share commits


async def _move(control: Control, moved: Operation) -> None:
    try:
        await control.store.apply([move_operation(moved)])
    except (Conflict, NotFound) as refused:
        log.info("operation_moved_by_another", operation=moved.id, code=refused.code)


def _moved(operation: Operation, now: Progress, at: float) -> Operation:
    return replace(
        operation,
        state=now.state,
        progress=max(operation.progress, now.progress),
        stage=now.stage,
        blocked_on=now.blocked_on,
        error=now.error,
        ended_at=at if now.state in ENDED and operation.state is not OperationState.DONE else operation.ended_at,
    )


def _why_not(ground: Ground | None, fleet: Fleet | None, vm: Vm) -> str:
    if ground is None:
        return ""
    choice = ground.choose(ground.request(vm.desired.spec), fleet)
    return "" if choice.host_id is not None else f"no capacity: {choice.why_not}"
