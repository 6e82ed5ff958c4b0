"""What the API asks of a VM's host while somebody waits, over the host's link: consoles and displays, what makes a VM exit, and how long its disks take. A port between the two doors."""

from typing import Literal, Protocol

from houyi.model.exits import ExitProfile
from houyi.model.ids import HostId, VmId
from houyi.model.latency import LatencyProfile

TunnelKind = Literal["serial", "vnc", "log"]


class Tunnel(Protocol):
    async def read(self) -> bytes:
        """The next bytes; b'' at the end. :raise HouyiError: why it ended, if for a reason (`vm_not_running`, `host_unreachable` ...)."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class Tunnels(Protocol):
    async def open(self, host_id: HostId, vm_id: VmId, kind: TunnelKind) -> Tunnel:
        """:raise Unavailable: `host_unreachable`: no link to that host ends at this server."""
        ...

    async def profile(self, host_id: HostId, vm_id: VmId, seconds: float) -> ExitProfile:
        """What made the VM exit during the next `seconds`.

        :raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`. :raise Conflict: as the host refused.
        """
        ...

    async def latency(self, host_id: HostId, vm_id: VmId, seconds: float) -> LatencyProfile:
        """How long requests to the VM's disks took during the next `seconds`.

        :raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`. :raise Conflict: as the host refused.
        """
        ...
