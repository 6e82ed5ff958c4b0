"""The ports through which VMs are only looked at (host/port.py has the others, and joins them): what the machine counts, and what makes VMs exit."""

from collections.abc import Mapping
from typing import Protocol

from houyi.model.exits import ExitProfile
from houyi.model.ids import VmId
from houyi.model.latency import LatencyProfile
from houyi.model.telemetry import VmCounters


class Telemetry(Protocol):
    """What the machine counts about the VMs that run on it. Looking costs them nothing, and waits for none of them."""

    async def counters(self) -> Mapping[VmId, VmCounters]:
        """Of every VM that runs here, in one look. One that libvirt is busy with is not whole. :raise Unavailable: libvirt is away."""
        ...

    async def pressure(self) -> Mapping[str, float]:
        """'cpu_some', 'memory_full' ... -> seconds since the machine's start that some, or all, of what could have run had to wait; empty: not known."""
        ...

    async def counters_of(self, vm_id: VmId) -> VmCounters:
        """Of one VM, now. :raise Conflict: `not_running`. :raise Unavailable: libvirt is away."""
        ...

    async def latency(self, vm_id: VmId, seconds: float) -> LatencyProfile:
        """How long requests to the VM's disks take during the next `seconds` (at most LATENCY_SECONDS_MAX).

        :raise Conflict: `not_running`, also when it is started again meanwhile; `latency_too_long`. :raise Failed: `latency_unknown`. :raise Unavailable: libvirt is away.
        """
        ...


class Tracing(Protocol):
    """VM exits by reason, as the kernel sees them: only while somebody asks."""

    async def profile(self, vm_id: VmId, seconds: float) -> ExitProfile:
        """What made a VM exit during the next `seconds` (at most TRACE_SECONDS_MAX). Several may ask at once.

        :raise Conflict: `not_running`; `no_vm_exits`: it runs under TCG; `trace_too_long`. :raise Unavailable: `tracefs_missing`. :raise Failed: `tracing_refused`.
        """
        ...

    async def clear(self) -> None:
        """Remove what an agent that was killed has left in the kernel; nothing while somebody asks. :raise Failed: `tracing_refused`."""
        ...
