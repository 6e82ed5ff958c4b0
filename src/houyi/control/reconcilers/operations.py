"""Goal: every operation on a VM shows how far it is, and ends when its generation is in force, has failed for good, or its VM is gone."""

from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.control.placements import choose_host
from houyi.model.errors import HouyiError
from houyi.model.operation import ENDED, Operation, OperationState
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
    for operation in operations:
        vm = vms.get(operation.target_id)
        blocked_on = "" if vm is None or vm.host_id is not None or vm.desired.deleted else await _why_not(control, vm)
        moved = _moved(operation, progress_of(operation, vm, blocked_on), control.clock.now())
        if moved == operation:
            continue
        try:
            await control.store.apply([move_operation(moved)])
        except HouyiError as refused:
            log.info("operation_moved_by_another", operation=operation.id, code=refused.code)


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


async def _why_not(control: Control, vm: Vm) -> str:
    hosts = (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items
    choice = choose_host(hosts, vm.desired.spec, control.settings.server)
    return "" if choice.host_id is not None else f"no capacity: {choice.why_not}"
