"""Asking a VM's host for the VM's exits by reason. Nothing is wished for by it, so nothing is written but the answer to a request that may be repeated."""

from collections.abc import Awaitable, Callable

from houyi.control.control import Context, Control
from houyi.model.errors import Conflict, Failed
from houyi.model.exits import ExitProfile
from houyi.model.ids import HostId, VmId
from houyi.model.vm import ObservedVm, Vm, VmState
from houyi.planning.exits import sound
from houyi.store.rows.idempotency import remember

Ask = Callable[[HostId, VmId, float], Awaitable[ExitProfile]]
"""(host, VM, seconds) -> what the host saw."""


async def profile_exits(control: Control, ctx: Context, vm: Vm, seconds: float, ask: Ask) -> ExitProfile:
    """What makes a VM exit, during the next `seconds`.

    :raise Conflict: `not_running`, `no_vm_exits`, and as its host refuses. :raise Unavailable: `host_unreachable`. :raise Failed: `exits_unsound`.
    """
    host_id, observed = running_on(vm)
    if observed.accelerator == "qemu":
        raise Conflict("no_vm_exits", f"{vm.desired.name} runs under TCG: there are no VM exits")
    found = sound(await ask(host_id, vm.desired.id, seconds), vm.desired.id)
    if found is None:
        raise Failed("exits_unsound", "what the VM's host answered cannot be true: its agent's log may say why")
    await answered(control, ctx, found)
    return found


def running_on(vm: Vm) -> tuple[HostId, ObservedVm]:
    """Who can be asked about it. :raise Conflict: `not_running`."""
    if vm.host_id is None or vm.observed is None or vm.observed.state not in (VmState.RUNNING, VmState.PAUSED):
        raise Conflict("not_running", "the VM is not running: start it first")
    return vm.host_id, vm.observed


async def answered(control: Control, ctx: Context, found: object) -> None:
    """Who asks again with the same key has the same answer."""
    asked = ctx.idempotency
    if asked is not None:
        answer = asked.render(found)
        await control.store.apply([remember(asked.scope, asked.key, asked.request_sha256, lambda _revision: answer, control.clock.now())])
