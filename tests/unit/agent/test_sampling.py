"""When guests are looked at: seldom, one at a time, at rest; and that it is told."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from desk import HandClock
from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.agent.sampling import EVERY_SECONDS, SETTLED_SECONDS, SPANS, TURN_SECONDS, Sampler
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.migration import GuestSample
from houyi.model.vm import ObservedVm, VmState
from houyi.planning.lifecycle import Memory

A, B = VmId("a"), VmId("b")


@dataclass
class Bench:
    ledger: Ledger
    reports: Reports = field(default_factory=Reports)
    clock: HandClock = field(default_factory=HandClock)
    looked: list[tuple[VmId, float]] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)
    refuses: bool = False
    begins: bool = False
    """A move begins while it is looked at."""

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.sample, self.ledger, self.reports, self.clock)

    async def sample(self, vm_id: VmId, seconds: float) -> GuestSample:
        self.looked.append((vm_id, self.clock.at))
        if self.refuses:
            raise Conflict("not_running", "it is not running")
        if self.begins:
            self.moves(vm_id, "m")
        self.spans.append(seconds)
        return GuestSample(vm_id=vm_id, dirty_mib_s=12.5, seconds=seconds)

    def runs(self, vm_id: VmId, state: VmState = VmState.RUNNING) -> None:
        self.ledger.keep(vm_id, Memory())
        self.reports.put(ObservedVm(id=vm_id, epoch=1, generation=1, state=state))

    def moves(self, vm_id: VmId, move: str) -> None:
        self.ledger.keep(vm_id, replace(self.ledger.memories[vm_id], moving=move))

    async def passes(self, seconds: float) -> None:
        until = self.clock.at + seconds
        while self.clock.at < until:
            self.clock.at += TURN_SECONDS
            await self.sampler.turn()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Ledger(tmp_path))


async def test_a_guest_is_looked_at_once_it_has_settled_and_then_seldom(bench: Bench) -> None:
    bench.runs(A)
    began = bench.clock.at
    await bench.passes(2 * EVERY_SECONDS + SETTLED_SECONDS)
    first = began + TURN_SECONDS + SETTLED_SECONDS
    second = first + SETTLED_SECONDS
    assert bench.looked == [(A, first), (A, second), (A, second + EVERY_SECONDS)]
    assert bench.spans == [*SPANS, SPANS[0]]
    expected = tuple(GuestSample(vm_id=A, dirty_mib_s=12.5, seconds=span, at=at) for (_, at), span in zip(bench.looked, bench.spans, strict=True))
    assert bench.reports.samples.take() == expected
    assert bench.reports.samples.take() == (), "told once"
    assert bench.reports.news.is_set() is True


async def test_one_at_a_time(bench: Bench) -> None:
    bench.runs(A)
    bench.runs(B)
    await bench.passes(EVERY_SECONDS)
    (first, at), (second, later), *_ = bench.looked
    assert ({first, second}, later - at) == ({A, B}, TURN_SECONDS)


@pytest.mark.parametrize("state", [state for state in VmState if state is not VmState.RUNNING])
async def test_only_what_runs(bench: Bench, state: VmState) -> None:
    bench.runs(A, state)
    await bench.passes(EVERY_SECONDS)
    assert bench.looked == []


async def test_never_while_it_moves(bench: Bench) -> None:
    bench.runs(A)
    bench.moves(A, "m")
    await bench.passes(EVERY_SECONDS)
    assert bench.looked == []
    bench.moves(A, "")
    await bench.passes(2 * SETTLED_SECONDS)
    assert len(bench.looked) == 1, "it settles anew"


async def test_what_a_move_ran_into_is_not_told(bench: Bench) -> None:
    bench.runs(A)
    bench.begins = True
    await bench.passes(2 * SETTLED_SECONDS)
    assert (len(bench.looked), bench.reports.samples.take()) == (1, ())


async def test_what_cannot_be_told_is_asked_again_later(bench: Bench) -> None:
    bench.runs(A)
    bench.refuses = True
    await bench.passes(EVERY_SECONDS + 2 * SETTLED_SECONDS)
    assert (len(bench.looked), bench.reports.samples.take()) == (2, ())
