"""Rates from two readings: right, or none at all."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.ids import VmId
from houyi.model.telemetry import DiskCounters, DiskRates, MemoryUse, NicCounters, VcpuCounters, VcpuRates, VmCounters, VmRates
from houyi.planning.telemetry import flat, merged, rates

FIRST = VmCounters(
    vm_id=VmId("a"),
    at=1000.0,
    ticks_seconds=50.0,
    run="1",
    kvm=True,
    cpu_seconds=7.0,
    vcpus=(
        VcpuCounters(number=0, cpu_seconds=3.0, delay_seconds=0.5, wait_seconds=0.25, kvm={"exits": 1000.0, "halt_exits": 100.0, "hypercalls": 7.0}),
        VcpuCounters(number=1, cpu_seconds=4.0, kvm={"exits": 500.0, "halt_exits": 50.0}),
    ),
    disks=(DiskCounters(name="vda", read_requests=10, read_bytes=1 << 20, read_seconds=0.5),),
    nics=(NicCounters(name="nic0", received_bytes=0, received_drops=3),),
)
SECOND = VmCounters(
    vm_id=VmId("a"),
    at=1010.1,
    ticks_seconds=60.0,
    run="1",
    kvm=True,
    cpu_seconds=22.0,
    vcpus=(
        VcpuCounters(number=0, cpu_seconds=8.0, delay_seconds=1.5, wait_seconds=0.25, kvm={"exits": 3000.0, "halt_exits": 200.0, "hypercalls": 7.0}),
        VcpuCounters(number=1, cpu_seconds=14.0, kvm={"exits": 1500.0, "halt_exits": 50.0}),
    ),
    disks=(DiskCounters(name="vda", read_requests=30, read_bytes=11 << 20, read_seconds=0.7, write_requests=5),),
    nics=(NicCounters(name="nic0", received_bytes=20 << 20, received_drops=13),),
    memory=MemoryUse(current_mib=512.0),
)


def test_two_readings_make_rates() -> None:
    found = rates(FIRST, SECOND)
    assert found is not None
    assert (found.began_at, found.ended_at) == (1000.1, 1010.1), "the wall clock may jump; the period is told by the monotonic one"
    assert found.cpu == 1.5
    assert found.exits == {"exits": 300.0, "halt_exits": 10.0}, "all vCPUs together; what did not move is left out"
    assert found.exits_s == 300.0
    assert found.vcpus == (VcpuRates(number=0, cpu=0.5, delay=0.1, exits_s=200.0), VcpuRates(number=1, cpu=1.0, exits_s=100.0))
    assert found.delay == pytest.approx(0.05)
    assert found.disks == (DiskRates(name="vda", reads_s=2.0, read_mib_s=1.0, read_ms=10.0, writes_s=0.5),)
    assert (found.nics[0].received_mib_s, found.nics[0].received_drops_s) == (2.0, 1.0)
    assert found.memory.current_mib == 512


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "2"},
        {"vm_id": VmId("b")},
        {"ticks_seconds": 50.1},
        {"ticks_seconds": 40.0},
        {"whole": False},
        {"cpu_seconds": 6.9},
    ],
)
def test_what_cannot_be_compared_tells_nothing(changes: dict[str, Any]) -> None:
    assert rates(FIRST, replace(SECOND, **changes)) is None
    assert rates(replace(SECOND, ticks_seconds=40.0, whole=changes.get("whole", True)), FIRST) is None, "backwards"


def test_parts_that_come_go_or_begin_anew_are_left_out() -> None:
    grown = replace(
        SECOND,
        vcpus=(*SECOND.vcpus, VcpuCounters(number=2, cpu_seconds=1.0, kvm={"exits": 1e6})),
        disks=(DiskCounters(name="vda", read_requests=5, read_bytes=512), DiskCounters(name="vdb")),
        nics=(),
    )
    found = rates(FIRST, grown)
    assert found is not None
    assert [vcpu.number for vcpu in found.vcpus] == [0, 1], "plugged in meanwhile: it has no earlier reading"
    assert found.exits_s == 300.0
    assert (found.disks, found.nics) == ((), ())
    shrunk = rates(SECOND, replace(grown, ticks_seconds=70.0, vcpus=(replace(SECOND.vcpus[1], kvm={"exits": 2500.0}),)))
    assert shrunk is not None
    assert shrunk.exits == {"exits": 100.0}
    back = rates(FIRST, replace(SECOND, vcpus=(replace(SECOND.vcpus[0], kvm={"exits": 1.0}), SECOND.vcpus[1])))
    assert back is not None
    assert back.exits == {"exits": 100.0}, "a vCPU whose counters went back has been plugged in anew"


def test_under_tcg_there_are_no_exits() -> None:
    bare = [replace(one, kvm=False, vcpus=tuple(replace(vcpu, kvm={}) for vcpu in one.vcpus)) for one in (FIRST, SECOND)]
    found = rates(bare[0], bare[1])
    assert found is not None
    assert (found.kvm, dict(found.exits), found.vcpus[0].exits_s, found.vcpus[0].cpu) == (False, {}, 0.0, 0.5)


def test_counters_as_one_mapping() -> None:
    known = flat(SECOND)
    assert (known["exits"], known["halt_exits"], known["hypercalls"]) == (4500.0, 250.0, 7.0)
    assert (known["cpu_seconds"], known["vcpu_cpu_seconds"], known["disk_read_requests"], known["nic_received_drops"]) == (22.0, 22.0, 30.0, 13.0)


def a_period(began: float, seconds: float, exits: float, **values: Any) -> VmRates:
    return VmRates(vm_id=VmId("a"), began_at=began, ended_at=began + seconds, kvm=True, exits={"exits": exits}, **values)


def test_periods_are_merged_by_their_length() -> None:
    disk = DiskRates(name="vda", reads_s=1.0, read_ms=10.0)
    busy = replace(disk, reads_s=9.0, read_ms=20.0)
    one, two, three = a_period(0, 10, 100, cpu=1.0, disks=(disk,)), a_period(10, 30, 500, cpu=2.0, disks=(busy,)), a_period(60, 10, 7)
    found = merged([one, two, three], 60)
    assert [(period.began_at, period.ended_at) for period in found] == [(0, 40), (60, 70)]
    assert (found[0].exits_s, found[0].cpu) == (400.0, 1.75)
    assert (found[0].disks[0].reads_s, found[0].disks[0].read_ms) == (7.0, pytest.approx(19.6429)), "a mean over requests, not over periods"
    assert found[1] == three
    assert merged([one, two, three], 5) == [one, two, three]


@given(st.lists(st.tuples(st.floats(0.5, 100), st.floats(0, 1e6)), min_size=1, max_size=20), st.floats(1, 200))
def test_merging_loses_nothing(periods: list[tuple[float, float]], seconds: float) -> None:
    began, made = 0.0, []
    for length, exits in periods:
        made.append(a_period(began, length, exits))
        began += length
    counted = sum(one.seconds * one.exits_s for one in made)
    assert sum(one.seconds * one.exits_s for one in merged(made, seconds)) == pytest.approx(counted, rel=1e-4, abs=1e-3)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.floats(0.2, 1e4))
def test_no_rate_is_ever_negative(old: int, new: int, seconds: float) -> None:
    def reading(count: int, ticks: float) -> VmCounters:
        return replace(FIRST, ticks_seconds=ticks, vcpus=(VcpuCounters(number=0, kvm={"exits": float(count)}),), disks=(), nics=())

    found = rates(reading(old, 0.0), reading(new, seconds))
    if found is not None:
        assert all(rate >= 0 for rate in found.exits.values())
        assert bool(found.exits) is (new > old)
