"""How far an operation on a VM is, from what is desired and what was observed."""

from dataclasses import dataclass

from houyi.model.errors import Problem
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import Power, Vm, VmState


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    state: OperationState
    progress: float = 0.0
    stage: str = ""
    blocked_on: str = ""
    error: Problem | None = None


def progress_of(operation: Operation, vm: Vm | None, blocked_on: str) -> Progress:
    """:param vm: None: it is gone. :param blocked_on: why it has no host, if so."""
    if vm is None:
        if operation.verb == "vm.delete":
            return Progress(state=OperationState.DONE, progress=1.0, stage="deleted")
        return _failed("vm_deleted", "the VM was deleted meanwhile")
    if vm.desired.deleted and operation.verb != "vm.delete":
        return _failed("vm_deleted", "the VM is being deleted")
    if vm.host_id is None:
        stage = "waiting for a host" if blocked_on else "choosing a host"
        return Progress(state=operation.state, stage=stage, blocked_on=blocked_on)
    if not vm.host_heard:
        return Progress(state=OperationState.RUNNING, progress=operation.progress, stage="waiting for the host", blocked_on="its host is not heard of")
    observed = vm.observed
    if observed is None or observed.epoch < vm.desired.epoch:
        return Progress(state=OperationState.RUNNING, progress=0.05, stage="given to the host")
    wanted = operation.target_generation
    if observed.error is not None and observed.error_generation >= wanted:
        return Progress(state=OperationState.FAILED, progress=operation.progress, stage=observed.stage, error=observed.error)
    if operation.verb != "vm.delete" and observed.generation >= wanted:
        return _in_force(operation, vm)
    stage = observed.stage or observed.state.value
    return Progress(state=OperationState.RUNNING, progress=min(0.95, 0.1 + 0.85 * observed.progress), stage=stage)


def _in_force(operation: Operation, vm: Vm) -> Progress:
    """The generation is in force; a start that was followed at once by a crash is not a success."""
    observed = vm.observed
    starts = operation.verb in ("vm.create", "vm.start") and vm.desired.power is Power.RUNNING and vm.desired.generation == operation.target_generation
    if starts and observed is not None and observed.state is VmState.CRASHED:
        return _failed("vm_crashed", f"the VM crashed at its start ({observed.reason.value}): see `houyi vm log {vm.desired.name}`")
    return Progress(state=OperationState.DONE, progress=1.0, stage="done")


def _failed(code: str, detail: str) -> Progress:
    return Progress(state=OperationState.FAILED, error=Problem(code, detail))
