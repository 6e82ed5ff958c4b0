"""A run goes through all benchmarks in all places in every round, in random order, and what fails does not end it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from houyi.local.evaluation.guest import VmVenue, Wish
from houyi.local.evaluation.place import Said
from houyi.local.evaluation.run import Opened, Plan, _exits, _rounds, check
from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.evaluation import ExitCount, Place, PlaceKind
from houyi.planning.evaluation.benchmarks import chosen

PLACES = (Place(PlaceKind.MACHINE), Place(PlaceKind.CONTAINER), Place(PlaceKind.VM), Place(PlaceKind.VM, "latency"))
CPU = "events per second: 100.5\n"

PLAN = Plan(
    places=PLACES, benchmarks=chosen("cpu,syscall", quick=False, cpus=2), boot=True, host="", seconds=1, rounds=4, cpus=2, memory_mib=256, seed=7, quick=False
)


class Venue:
    """A place without anything behind it."""

    scratch = "/var/bench"

    def __init__(self, place: Place, log: list[tuple[str, str]]) -> None:
        self.place, self._log = place, log

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        self._log.append((argv[1], self.place.name))
        if self.place.profile:
            raise Failed("bench_timeout", "it hangs")
        if self.place.kind is PlaceKind.CONTAINER:
            return Said(code=1, text="", complaint="no such file")
        return Said(code=0, text=CPU if argv[1] == "cpu" else "nothing of use", complaint="")

    async def boot(self) -> float | None:
        self._log.append(("boot", self.place.name))
        return None if self.place.kind is PlaceKind.MACHINE else 2.5

    async def peer(self) -> str:
        return "127.0.0.1"

    async def close(self) -> None:
        return None


async def went(plan: Plan) -> tuple[list[tuple[str, str]], list[str], list[object]]:
    log: list[tuple[str, str]] = []
    told: list[str] = []
    opened = Opened("bench-1", None)
    opened.venues = [Venue(place, log) for place in plan.places]
    return log, told, list(await _rounds(opened, plan, told.append))


async def test_every_benchmark_runs_everywhere_once_a_round() -> None:
    log, _, samples = await went(PLAN)
    works = ("cpu", "/usr/share/bench/syscall.lua", "boot")
    each = len(PLACES) * len(works)
    assert len(log) == each * PLAN.rounds
    rounds = [log[at : at + each] for at in range(0, len(log), each)]
    for one in rounds:
        assert set(one) == {(work, place.name) for work in works for place in PLACES}
        for at in range(0, each, len(PLACES)):
            assert len({work for work, _ in one[at : at + len(PLACES)]}) == 1, "all places of a benchmark, then the next benchmark"
    assert len({tuple(one) for one in rounds}) > 1, "the order changes"
    assert len(samples) == each * PLAN.rounds - PLAN.rounds, "the machine is not started anew"
    assert (await went(PLAN))[0] == log, "one seed, one order"
    assert (await went(replace(PLAN, seed=8)))[0] != log


async def test_what_fails_is_a_failed_sample_with_its_reason() -> None:
    _, told, samples = await went(PLAN)
    by = {(one.benchmark, one.place): one for one in samples}  # type: ignore[attr-defined]
    assert by["cpu", "machine"].measured.value == 100.5  # type: ignore[attr-defined]
    assert by["syscall", "machine"].error == "sysbench: it printed no number of events"  # type: ignore[attr-defined]
    assert by["cpu", "container"].error == "sysbench: exit status 1: no such file"  # type: ignore[attr-defined]
    assert by["cpu", "vm:latency"].error == "it hangs"  # type: ignore[attr-defined]
    assert by["boot", "vm"].measured.value == 2.5  # type: ignore[attr-defined]
    assert all((one.measured is None) is bool(one.error) for one in samples)  # type: ignore[attr-defined]
    assert any("FAILED: it hangs" in line for line in told)


class Traced(VmVenue):
    """A VM under KVM, or not, of which nothing is behind."""

    def __init__(self, place: Place, kvm: bool, said: str = CPU) -> None:
        nothing: Any = None
        wish = Wish(place=place, name="bench-1-plain", vcpus=1, memory_mib=256, host_labels={}, stamp="")
        super().__init__(nothing, wish, nothing)
        self._kvm, self._said = kvm, said
        self.asked: list[str] = []

    @property
    def emulated(self) -> bool:
        return not self._kvm

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        self.asked += [word for word in argv if word.startswith("--time=")]
        return Said(code=0, text=self._said, complaint="")

    async def exits(self, seconds: float) -> tuple[float, dict[str, float]]:
        if self._said != CPU:
            raise Conflict("no_vm_exits", "it does not run under KVM")
        return 201.0, {"hlt": 100.5, "msr": 100.5}


async def exits(*venues: Traced) -> tuple[tuple[ExitCount, ...], str]:
    opened = Opened("bench-1", None)
    opened.venues = list(venues)
    return await _exits(opened, replace(PLAN, benchmarks=chosen("cpu", quick=False, cpus=2)), lambda _: None)


async def test_exits_an_operation_are_exits_a_second_by_operations_a_second() -> None:
    venue = Traced(PLACES[2], kvm=True)
    (found,), why = await exits(venue)
    assert (found.benchmark, found.place, found.error, why) == ("cpu", "vm", "", "")
    assert (found.exits_s, found.per_operation, found.reasons) == (201.0, 2.0, {"hlt": 1.0, "msr": 1.0})
    assert venue.asked == ["--time=7"], "it goes on for longer than it is traced"


async def test_without_kvm_there_are_no_exits_and_why_is_said() -> None:
    found, why = await exits(Traced(PLACES[2], kvm=False))
    assert found == ()
    assert "TCG" in why
    assert (await exits())[1] == "no VM was among the places"


async def test_exits_that_cannot_be_counted_are_an_error() -> None:
    (found,), _ = await exits(Traced(PLACES[2], kvm=True, said="nothing of use"))
    assert found.error
    assert not found.per_operation


def test_nothing_to_do_is_refused() -> None:
    for plan, code in ((replace(PLAN, benchmarks=(), boot=False), "bench_nothing"), (replace(PLAN, rounds=-1), "bench_size")):
        with pytest.raises(Invalid) as refused:
            check(plan)
        assert refused.value.code == code
    check(PLAN)
