"""When VMs are counted, and what is told of it: rates of periods, whatever happened between two looks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from desk import HandClock
from houyi.agent.reports import RATES_MAX, Reports
from houyi.agent.telemetry import Telemeter
from houyi.model.errors import Unavailable
from houyi.model.ids import VmId
from houyi.model.telemetry import VcpuCounters, VmCounters

A, B = VmId("a"), VmId("b")


@dataclass
class Counting:
    clock: HandClock = field(default_factory=lambda: HandClock(1003.0))
    reports: Reports = field(default_factory=Reports)
    now: dict[VmId, VmCounters] = field(default_factory=dict)
    away: bool = False
    looks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.telemeter = Telemeter(self, self.reports, self.clock, 10.0)

    async def counters(self) -> Mapping[VmId, VmCounters]:
        self.looks.append(self.clock.at)
        if self.away:
            raise Unavailable("libvirt_away", "later")
        return {vm_id: replace(one, at=self.clock.at, ticks_seconds=self.clock.at) for vm_id, one in self.now.items()}

    async def pressure(self) -> Mapping[str, float]:
        return {"cpu_some": 1.5, "io_full": 0.25}

    async def counters_of(self, vm_id: VmId) -> VmCounters:
        return (await self.counters())[vm_id]

    def has(self, vm_id: VmId, exits: float, run: str = "1", *, whole: bool = True) -> None:
        vcpu = VcpuCounters(number=0, kvm={"exits": exits})
        self.now[vm_id] = VmCounters(vm_id=vm_id, at=0.0, ticks_seconds=0.0, run=run, kvm=True, whole=whole, vcpus=(vcpu,))

    async def after(self, seconds: float) -> list[tuple[VmId, float, float]]:
        """(VM, exits a second, length of the period) of what is told after a look then."""
        self.clock.at += seconds
        await self.telemeter.turn()
        return [(one.vm_id, one.exits_s, one.seconds) for one in self.reports.rates.take()]


@pytest.fixture
def counting() -> Counting:
    return Counting()


async def test_rates_of_each_period(counting: Counting) -> None:
    counting.has(A, 100)
    assert await counting.after(0) == [], "one reading is no period"
    counting.has(A, 600)
    counting.has(B, 1)
    assert await counting.after(10) == [(A, 50.0, 10.0)]
    counting.has(B, 11)
    assert await counting.after(10) == [(A, 0.0, 10.0), (B, 1.0, 10.0)]
    assert counting.reports.news.is_set() is False, "it hastens no report"
    assert set(counting.telemeter.readings) == {A, B}


async def test_a_reading_that_is_missing_makes_a_longer_period(counting: Counting) -> None:
    counting.has(A, 0)
    await counting.after(0)
    counting.away = True
    with pytest.raises(Unavailable):
        await counting.after(10)
    counting.away = False
    counting.has(A, 200, whole=False)
    assert await counting.after(10) == [], "libvirt is busy with it"
    counting.has(A, 300)
    assert await counting.after(10) == [(A, 10.0, 30.0)]


async def test_another_run_begins_anew(counting: Counting) -> None:
    counting.has(A, 1000)
    await counting.after(0)
    counting.has(A, 5000, run="2")
    assert await counting.after(10) == []
    counting.has(A, 5010, run="2")
    assert await counting.after(10) == [(A, 1.0, 10.0)]
    del counting.now[A]
    assert await counting.after(10) == []
    assert not counting.telemeter.readings
    counting.has(A, 9000, run="2")
    assert await counting.after(10) == [], "it was away: nobody knows what happened meanwhile"


async def test_looks_fall_on_whole_periods(counting: Counting) -> None:
    class Enough(BaseException):
        pass

    class Clock(HandClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            counting.clock.at = self.at
            if self.at >= 1030:
                raise Enough

    counting.away = True
    with pytest.raises(Enough):
        await Telemeter(counting, counting.reports, Clock(1003.0), 10.0).run()
    assert counting.looks == [1003.0, 1010.0, 1020.0], "also when libvirt is away"


async def test_what_cannot_be_told_does_not_grow(counting: Counting) -> None:
    for look in range(RATES_MAX + 10):
        counting.has(A, look)
        counting.clock.at += 10
        await counting.telemeter.turn()
    assert len(counting.reports.rates.take()) == RATES_MAX
    assert counting.reports.rates.take() == ()
