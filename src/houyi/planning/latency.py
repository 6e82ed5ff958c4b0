"""From two readings of disks' latencies to what passed between them, and from bins to quantiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from houyi.model.ids import VmId
from houyi.model.latency import BOUNDS_NS, LATENCY_SECONDS_MAX, DiskLatency, LatencyProfile, RequestKind, RequestLatency

KINDS: tuple[RequestKind, ...] = ("reads", "writes", "flushes")
BINS = len(BOUNDS_NS) + 1
DISKS_MAX = 256
_COUNT_MAX = 1 << 53
"""JSON's numbers are exact up to it."""


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """Cumulative."""

    run: str
    """Another after each start of the VM."""
    disks: Mapping[str, DiskLatency]


def between(before: LatencyReading, now: LatencyReading) -> tuple[DiskLatency, ...] | None:
    """What passed; None: the VM has been started again. Disks that are not in both readings, or whose counts began anew, are left out."""
    if before.run != now.run:
        return None
    found = []
    for name, one in now.disks.items():
        old = before.disks.get(name)
        if old is None:
            continue
        passed = {kind: tuple(new - was for was, new in zip(getattr(old, kind), getattr(one, kind), strict=True)) for kind in KINDS}
        if all(count >= 0 for counts in passed.values() for count in counts):
            found.append(DiskLatency(name=name, **passed))
    return tuple(found)


def quantile_ns(counts: Sequence[int], share: float) -> float:
    """Within its bin as if all were spread evenly there; of the last bin, which has no end, its beginning. 0: there were no requests.

    :param counts: in bins of BOUNDS_NS. :param share: 0.99 for what 99 of 100 requests took at most.
    """
    rest = share * sum(counts)
    edges = (0, *BOUNDS_NS)
    for number, count in enumerate(counts):
        if count and rest <= count:
            low, high = edges[number], edges[min(number + 1, len(edges) - 1)]
            return low + (high - low) * rest / count
        rest -= count
    return 0.0


def most_ns(counts: Sequence[int]) -> int:
    """None took longer than this; -1: some took longer than the last bound. 0: there were no requests."""
    last = max((number for number, count in enumerate(counts) if count), default=-1)
    return 0 if last < 0 else -1 if last == len(BOUNDS_NS) else BOUNDS_NS[last]


def requests(one: LatencyProfile) -> list[RequestLatency]:
    """Of each disk and kind of which there were any."""
    return [_of(disk.name, kind, getattr(disk, kind)) for disk in one.disks for kind in KINDS if any(getattr(disk, kind))]


def _of(disk: str, kind: RequestKind, counts: tuple[int, ...]) -> RequestLatency:
    p50, p90, p99 = (quantile_ns(counts, share) for share in (0.5, 0.9, 0.99))
    return RequestLatency(disk=disk, kind=kind, counts=counts, p50_ns=p50, p90_ns=p90, p99_ns=p99, most_ns=most_ns(counts))


def sound_latency(one: LatencyProfile, vm_id: VmId) -> LatencyProfile | None:
    """What a host says of this VM, as far as it can be true; None: it cannot."""
    if one.vm_id != vm_id or not 0 < one.seconds <= 2 * LATENCY_SECONDS_MAX or not 0 < one.began_at < _COUNT_MAX:
        return None
    return replace(one, disks=tuple(disk for disk in one.disks[:DISKS_MAX] if _possible(disk)))


def _possible(disk: DiskLatency) -> bool:
    counts = [getattr(disk, kind) for kind in KINDS]
    return 0 < len(disk.name) <= 64 and all(len(one) == BINS and all(0 <= count <= _COUNT_MAX for count in one) for one in counts)
