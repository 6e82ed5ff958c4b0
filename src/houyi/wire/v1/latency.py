"""How long a VM's disks take, as JSON."""

from collections.abc import Sequence

from pydantic import Field

from houyi.model.latency import BOUNDS_NS, LATENCY_SECONDS_MAX, LatencyProfile, RequestKind
from houyi.model.latency import RequestLatency as ModelRequest
from houyi.wire.v1.shape import Asked, Id, Number, Shown, Time, rfc3339


class VmLatencyAsk(Asked):
    """For how long to look."""

    seconds: Number = Field(10.0, ge=0.1, le=LATENCY_SECONDS_MAX, description="The answer comes after this long.")


class LatencyBin(Shown):
    to_ms: float | None = Field(description="Longer than the bin before, and less than this; null: without an end.")
    count: int


class RequestLatency(Shown):
    """Of one kind of requests to one disk."""

    disk: str
    kind: RequestKind
    count: int
    count_s: float = Field(description="A second.")
    p50_ms: float = Field(description="Half of them took at most so long; interpolated within a bin, as are the others.")
    p90_ms: float
    p99_ms: float
    most_ms: float | None = Field(description="None took longer; null: some took longer than the last bin begins.")
    histogram: list[LatencyBin] = Field(description="Without what is empty at its ends.")


class VmLatency(Shown):
    """How long requests to a VM's disks took; of those that there were."""

    vm_id: Id
    vm_name: str
    began_at: Time
    seconds: float
    requests: list[RequestLatency]


def show_latency(one: LatencyProfile, vm_name: str, requests: Sequence[ModelRequest]) -> VmLatency:
    """:param requests: summed up (planning.latency.requests)."""
    return VmLatency(
        vm_id=one.vm_id,
        vm_name=vm_name,
        began_at=rfc3339(one.began_at),
        seconds=round(one.seconds, 6),
        requests=[_show(request, one.seconds) for request in requests],
    )


def _show(one: ModelRequest, seconds: float) -> RequestLatency:
    count = sum(one.counts)
    filled = [number for number, found in enumerate(one.counts) if found]
    ends = [*(bound / 1e6 for bound in BOUNDS_NS), None]
    return RequestLatency(
        disk=one.disk,
        kind=one.kind,
        count=count,
        count_s=round(count / seconds, 3),
        p50_ms=round(one.p50_ns / 1e6, 4),
        p90_ms=round(one.p90_ns / 1e6, 4),
        p99_ms=round(one.p99_ns / 1e6, 4),
        most_ms=None if one.most_ns < 0 else one.most_ns / 1e6,
        histogram=[LatencyBin(to_ms=ends[number], count=one.counts[number]) for number in range(filled[0], filled[-1] + 1)],
    )
