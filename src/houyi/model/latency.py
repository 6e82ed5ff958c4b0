"""How long requests to a VM's disks take: how many took how long, over a bounded time."""

from dataclasses import dataclass
from typing import Literal

from houyi.model.ids import VmId

LATENCY_SECONDS_MAX = 60.0
"""For as long somebody may be kept waiting for an answer."""
BOUNDS_NS = tuple(step * 10**power for power in (4, 5, 6, 7, 8, 9) for step in (1, 2, 5))
"""Where one bin ends and the next begins: from 10 microseconds to 5 seconds. What takes longer is in a bin of its own."""


RequestKind = Literal["reads", "writes", "flushes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLatency:
    """Requests in each bin: one more of them than there are bounds."""

    name: str
    """As the guest has it first: 'vda'."""
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    flushes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProfile:
    vm_id: VmId
    began_at: float
    """Unix seconds."""
    seconds: float
    disks: tuple[DiskLatency, ...]
    """In bins of BOUNDS_NS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLatency:
    """Of one kind of requests to one disk, of which there were some."""

    disk: str
    kind: RequestKind
    counts: tuple[int, ...]
    """In bins of BOUNDS_NS."""
    p50_ns: float
    p90_ns: float
    p99_ns: float
    most_ns: int
    """None took longer; -1: some took longer than the last bound."""
