"""Counters as Prometheus has them, and back again: nothing is lost on the way but what it never had."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.ids import VmId
from houyi.model.telemetry import DiskCounters, MemoryUse, NicCounters, VcpuCounters, VmCounters
from houyi.planning.telemetry import rates
from houyi.planning.vm_metrics import FAMILIES, MIB, REASONS, Sample, Series, readings, samples

A = VmId("a")
COUNTERS = VmCounters(
    vm_id=A,
    at=1000.0,
    ticks_seconds=1000.0,
    run="h1",
    kvm=True,
    cpu_seconds=12.5,
    vcpus=(
        VcpuCounters(number=0, cpu_seconds=3.0, delay_seconds=0.5, kvm={"exits": 100.0, "halt_exits": 60.0, "io_exits": 10.0, "hypercalls": 7.0}),
        VcpuCounters(number=1, cpu_seconds=4.0, wait_seconds=0.25, kvm={"exits": 5.0}),
    ),
    disks=(DiskCounters(name="vda", read_requests=10, read_bytes=1 << 20, read_seconds=0.5, flush_requests=2, flush_seconds=0.125),),
    nics=(NicCounters(name="nic0", received_bytes=9, sent_drops=3),),
    memory=MemoryUse(current_mib=512.0, rss_mib=100.0),
)


def series(host: str, *scraped: VmCounters) -> list[Series]:
    points: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for one in scraped:
        for sample in samples(one, "hello"):
            key = tuple(sorted({"__name__": sample.name, "vm": one.vm_id, "host": host, **sample.labels}.items()))
            points.setdefault(key, []).append((one.at, sample.value))
    return [Series(dict(key), values) for key, values in points.items()]


def test_every_sample_is_of_a_family_and_has_its_labels() -> None:
    families = {one.name: set(one.labels) for one in FAMILIES}
    told = list(samples(COUNTERS, "hello"))
    assert {one.name for one in told} == set(families)
    assert all(set(one.labels) == families[one.name] for one in told)
    assert len({(one.name, tuple(one.labels.items())) for one in told}) == len(told), "each once"


def test_conventions() -> None:
    for one in FAMILIES:
        assert one.name.startswith("houyi_vm_")
        assert one.name.endswith("_total") is not one.gauge
        assert one.help.endswith(".")


def test_the_reasons_together_are_all_exits() -> None:
    found = {one.labels["reason"]: one.value for one in samples(COUNTERS, "hello") if one.name == "houyi_vm_vcpu_exits_total" and one.labels["vcpu"] == "0"}
    assert found == {"halt": 60.0, "io": 10.0, "other": 30.0}
    assert Sample("houyi_vm_kvm_events_total", {"vcpu": "0", "event": "hypercalls"}, 7.0) in list(samples(COUNTERS, "hello"))


def test_there_and_back() -> None:
    assert readings(A, series("h1", COUNTERS)) == {"h1": [COUNTERS]}
    later = replace(COUNTERS, at=1010.0, ticks_seconds=1010.0, cpu_seconds=20.0)
    assert readings(A, series("h1", COUNTERS, later)) == {"h1": [COUNTERS, later]}
    assert set(readings(A, [*series("h1", COUNTERS), *series("h2", later)])) == {"h1", "h2"}


@pytest.mark.parametrize("accelerator", [True, False])
def test_rates_from_there_are_the_same(accelerator: bool) -> None:
    first = replace(COUNTERS, kvm=accelerator)
    second = replace(first, at=1010.0, ticks_seconds=1010.0, cpu_seconds=20.0, vcpus=(replace(first.vcpus[0], kvm={"exits": 600.0, "halt_exits": 70.0}),))
    (one, two) = readings(A, series("h1", first, second))["h1"]
    assert rates(one, two) == rates(first, second)


def test_a_scrape_that_is_only_a_part_is_not_whole() -> None:
    parts = [one for one in series("h1", COUNTERS) if one.labels["__name__"] != "houyi_vm_cpu_seconds_total"]
    assert not readings(A, parts)["h1"][0].whole
    strange = Series({"__name__": "houyi_vm_vcpu_exits_total", "vm": "a", "host": "h1", "vcpu": "x", "reason": "halt"}, [(1000.0, 5.0)])
    assert readings(A, [strange, Series({"__name__": "houyi_vm_future_total"}, [(1.0, 2.0)])])["h1"][0].vcpus == ()


@given(st.dictionaries(st.sampled_from(sorted(REASONS)), st.integers(0, 1 << 40)), st.integers(0, 1 << 40))
def test_any_counters_come_back(kinds: dict[str, int], more: int) -> None:
    kvm = {**{name: float(count) for name, count in kinds.items()}, "exits": float(sum(kinds.values()) + more)}
    one = replace(COUNTERS, vcpus=(VcpuCounters(number=3, kvm=kvm),), disks=(), nics=(), memory=MemoryUse(rss_mib=1 / MIB))
    assert readings(A, series("h1", one))["h1"][0].vcpus[0].kvm == kvm
