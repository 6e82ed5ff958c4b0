"""What passed between two readings, and quantiles from bins: against the requests themselves."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.ids import VmId
from houyi.model.latency import BOUNDS_NS, DiskLatency, LatencyProfile
from houyi.planning.latency import BINS, LatencyReading, between, most_ns, quantile_ns, sound_latency

A = VmId("a")
NONE = (0,) * BINS


def bins(*took_ns: int) -> tuple[int, ...]:
    counts = [0] * BINS
    for one in took_ns:
        counts[sum(bound <= one for bound in BOUNDS_NS)] += 1
    return tuple(counts)


def disk(name: str = "vda", **counts: tuple[int, ...]) -> DiskLatency:
    return DiskLatency(name=name, **{"reads": NONE, "writes": NONE, "flushes": NONE, **counts})


def reading(*disks: DiskLatency, run: str = "1") -> LatencyReading:
    return LatencyReading(run, {one.name: one for one in disks})


def test_bounds_go_up() -> None:
    assert all(low < high for low, high in pairwise(BOUNDS_NS))
    assert (BOUNDS_NS[0], BOUNDS_NS[-1]) == (10_000, 5_000_000_000)


def test_what_passed() -> None:
    before = reading(disk(reads=bins(5, 5)), disk("vdb", writes=bins(7)), disk("gone"))
    now = reading(disk(reads=bins(5, 5, 20_000)), disk("vdb", writes=bins()), disk("new"))
    assert between(before, now) == (disk(reads=bins(20_000)),), "vdb began anew, the others are not in both"
    assert between(before, replace(now, run="2")) is None


@given(st.lists(st.integers(1, 4_999_999_999), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_in_the_bin_of_the_request_that_it_means(took: list[int], share: float) -> None:
    exact = sorted(took)[max(0, -int(-share * len(took) // 1) - 1)]
    edges = (0, *BOUNDS_NS)
    number = sum(bound <= exact for bound in BOUNDS_NS)
    assert edges[number] <= quantile_ns(bins(*took), share) <= edges[number + 1]
    assert max(took) < most_ns(bins(*took)) <= max(10_000, 5 * max(took))


def test_of_nothing_and_of_what_has_no_end() -> None:
    assert (quantile_ns(NONE, 0.5), most_ns(NONE)) == (0.0, 0)
    assert (quantile_ns(bins(9_000_000_000), 0.5), most_ns(bins(9_000_000_000))) == (5e9, -1)


@pytest.mark.parametrize(
    "wrong",
    [{"vm_id": VmId("b")}, {"seconds": 0.0}, {"seconds": 1e9}, {"seconds": float("nan")}, {"began_at": -1.0}],
)
def test_what_cannot_be_is_not_believed(wrong: dict[str, object]) -> None:
    good = LatencyProfile(vm_id=A, began_at=1e9, seconds=10.0, disks=(disk(), disk("short", reads=(1, 2)), disk("negative", reads=(-1, *NONE[1:])), disk("")))
    found = sound_latency(good, A)
    assert found is not None
    assert [one.name for one in found.disks] == ["vda"]
    assert sound_latency(replace(good, **wrong), A) is None  # type: ignore[arg-type]
