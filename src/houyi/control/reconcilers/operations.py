"""Goal: every operation on a VM (but its moves: workflows/migrate_vm.py) shows how far it is, and ends when its generation is in force, has failed for good, or its VM is gone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.control.placements import choose_host
from houyi.model.errors import Conflict, NotFound
from houyi.model.host import Host
from houyi.model.operation import ENDED, MIGRATE, Operation, OperationState
from houyi.model.vm import Vm
from houyi.planning.operations import Progress, progress_of
from houyi.store.journal import move_operation
from houyi.store.views.host import list_hosts
from houyi.store.views.operation import open_with_vms
from houyi.store.views.page import EVERYTHING

log = get_log(__name__)


async def move_operations(control: Control) -> None:
    """One pass over all open operations of VMs."""
    operations, vms = await control.store.read(open_with_vms)
    waiting = any(vm.host_id is None for vm in vms.values())
    hosts = (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items if waiting else ()
    moves = []
    for operation in (one for one in operations if one.verb != MIGRATE):
        vm = vms.get(operation.target_id)
        blocked_on = "" if vm is None or vm.host_id is not None or vm.desired.deleted else _why_not(control, vm, hosts)
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


def _why_not(control: Control, vm: Vm, hosts: Sequence[Host]) -> str:
    choice = choose_host(hosts, vm.desired.spec, control.settings.server)
    return "" if choice.host_id is not None else f"no capacity: {choice.why_not}"
