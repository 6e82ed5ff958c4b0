"""Asking a VM's host how long the VM's disks take. As with its exits, nothing is written but the answer to a request that may be repeated."""

from collections.abc import Awaitable, Callable

from houyi.control.commands.exits import answered, running_on
from houyi.control.control import Context, Control
from houyi.model.errors import Failed
from houyi.model.ids import HostId, VmId
from houyi.model.latency import LatencyProfile
from houyi.model.vm import Vm
from houyi.planning.latency import sound_latency

Ask = Callable[[HostId, VmId, float], Awaitable[LatencyProfile]]
"""(host, VM, seconds) -> what the host saw."""


async def profile_latency(control: Control, ctx: Context, vm: Vm, seconds: float, ask: Ask) -> LatencyProfile:
    """How long requests to its disks take, during the next `seconds`.

    :raise Conflict: `not_running`, and as its host refuses. :raise Unavailable: `host_unreachable`. :raise Failed: `latency_unsound`.
    """
    host_id, _ = running_on(vm)
    found = sound_latency(await ask(host_id, vm.desired.id, seconds), vm.desired.id)
    if found is None:
        raise Failed("latency_unsound", "what the VM's host answered cannot be true: its agent's log may say why")
    await answered(control, ctx, found)
    return found
