"""The agent has the host's knobs as wished, with an undo that survives it, and turns live knobs of VMs."""

from dataclasses import replace
from pathlib import Path

import pytest

from houyi.agent.ledger import Ledger
from houyi.agent.parting import put_back_knobs
from houyi.agent.reports import Reports
from houyi.agent.tuning import LOOK_SECONDS, Tuning
from houyi.host.sim import SimHost
from houyi.host.sim.state import SimDomain
from houyi.host.tuning.lever import FileLever
from houyi.model.errors import Failed, Unavailable
from houyi.model.ids import VmId
from houyi.model.tuning import HostTuned, TuningAsk
from houyi.model.vm import ObservedVm, VmState
from houyi.planning.lifecycle import Memory
from houyi.wire.agents import Desired
from tuned import context


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Hand()
        self.sim = SimHost(self.clock)
        self.served: list[VmId] = []
        self.restart()

    def restart(self) -> None:
        """The agent's process begins anew."""
        self.ledger = Ledger(self.folder / "ledger")
        self.reports = Reports()
        ports = self.sim.ports()
        self.tuning = Tuning(ports.tuner, ports.live_knobs, self.ledger, self.reports, self.clock, self.served.append)

    async def wish(self, profile: str = "", **knobs: str) -> HostTuned:
        self.ledger.keep_desired(Desired(revision=1, vms=(), networks=(), images=(), tuning=TuningAsk(profile=profile, knobs=knobs)))
        await self.tuning.turn()
        assert self.reports.tuned.value is not None
        return self.reports.tuned.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_wish_is_set_and_read_back_and_taken_back(bench: Bench) -> None:
    was = dict(bench.sim.knobs)
    told = await bench.wish(ksm="on", halt_poll_ns="0")
    assert (told.values["ksm"], told.values["halt_poll_ns"]) == ("on", "0")
    assert told.before == {"ksm": "off", "halt_poll_ns": "200000"}
    told = await bench.wish(ksm="on")
    assert told.values["halt_poll_ns"] == "200000"
    assert told.before == {"ksm": "off"}
    assert (await bench.wish()).before == {}
    assert bench.sim.knobs == was


async def test_a_profile_is_had_as_far_as_the_machine_has_it(bench: Bench) -> None:
    told = await bench.wish("latency", ksm="unmerge", avic="on")
    assert (told.values["governor"], told.values["ksm"], told.values["cpu_dma_latency"]) == ("performance", "unmerge", "10")
    assert told.problems == {"avic": "this machine has no such thing"}, "of what was asked by name only"


async def test_the_undo_survives_the_agent(bench: Bench) -> None:
    was = dict(bench.sim.knobs)
    await bench.wish("latency")
    bench.restart()
    told = await bench.wish("dense")
    assert told.before["halt_poll_ns"] == "200000", "what was there before the first change, not what we had set"
    bench.restart()
    await bench.wish()
    assert bench.sim.knobs == was


async def test_a_crash_between_the_record_and_the_change_is_harmless(bench: Bench) -> None:
    bench.sim.fail_next("set_knob", Failed("tuning_failed", "it says no"))
    told = await bench.wish(ksm="on")
    assert told.problems == {"ksm": "it says no"}
    bench.restart()
    await bench.wish()
    assert bench.sim.knobs["ksm"] == "off"
    assert bench.ledger.tuned == {}


async def test_what_somebody_sets_by_hand_is_set_again_after_a_while(bench: Bench) -> None:
    await bench.wish(ksm="on")
    bench.sim.knobs["ksm"] = "off"
    await bench.tuning.turn()
    assert bench.sim.knobs["ksm"] == "off"
    await bench.clock.sleep(LOOK_SECONDS)
    await bench.tuning.turn()
    assert bench.sim.knobs["ksm"] == "on"


async def test_what_cannot_be_put_back_is_tried_again(bench: Bench) -> None:
    await bench.wish(ksm="on")
    bench.sim.fail_next("restore_knob", Failed("tuning_failed", "it says no"))
    assert (await bench.wish()).problems == {"ksm": "it says no"}
    assert "ksm" in bench.ledger.tuned
    await bench.clock.sleep(LOOK_SECONDS)
    await bench.tuning.turn()
    assert (bench.sim.knobs["ksm"], dict(bench.ledger.tuned)) == ("off", {})


async def test_without_a_server_nothing_is_touched(bench: Bench) -> None:
    await bench.tuning.turn()
    assert bench.sim.calls == []


async def test_the_reading_is_told_once_and_in_every_complete_report(bench: Bench) -> None:
    told = await bench.wish(ksm="on")
    assert bench.reports.tuned.take(everything=False) == told
    assert bench.reports.tuned.take(everything=False) is None
    assert bench.reports.tuned.take(everything=True) == told


VM = replace(context({"io_poll_ns": "0", "hpet": "on"}).vm, nics=())


class Guest:
    """A VM that runs on the bench's machine."""

    def __init__(self, bench: Bench, **running: str) -> None:
        self.bench = bench
        bench.sim.calls.clear()
        bench.ledger.keep_desired(Desired(revision=1, vms=(VM,), networks=(), images=()))
        bench.sim.domains[VM.id] = SimDomain(VM, state=VmState.RUNNING, tuned=dict(running))
        self.seen(running)

    def seen(self, tuned: dict[str, str], state: VmState = VmState.RUNNING) -> None:
        self.bench.reports.put(ObservedVm(id=VM.id, epoch=1, generation=1, state=state, tuned=tuned))

    @property
    def turns(self) -> int:
        return sum(call == "turn" for call, _ in self.bench.sim.calls)


async def test_live_knobs_are_turned_and_the_others_are_left_for_the_next_start(bench: Bench) -> None:
    guest = Guest(bench)
    await bench.tuning.turn()
    assert bench.sim.domains[VM.id].tuned == {"io_poll_ns": "0"}
    assert bench.served == [VM.id]
    guest.seen({"io_poll_ns": "0"})
    await bench.tuning.turn()
    assert guest.turns == 1


async def test_a_live_knob_that_is_no_longer_asked_goes_back(bench: Bench) -> None:
    Guest(bench, io_poll_ns="5")
    bench.ledger.keep_desired(Desired(revision=2, vms=(replace(VM, tuning={}),), networks=(), images=()))
    await bench.tuning.turn()
    assert bench.sim.domains[VM.id].tuned == {}


async def test_a_guest_that_is_off_or_on_its_way_is_left_alone(bench: Bench) -> None:
    guest = Guest(bench)
    guest.seen({}, VmState.STOPPED)
    await bench.tuning.turn()
    guest.seen({})
    bench.ledger.keep(VM.id, Memory(moving="m"))
    await bench.tuning.turn()
    assert guest.turns == 0


async def test_a_refusal_is_not_asked_for_again_until_something_else_is_wished(bench: Bench) -> None:
    guest = Guest(bench)
    bench.sim.fail_next("turn", Failed("libvirt_failed", "no"))
    await bench.tuning.turn()
    await bench.tuning.turn()
    assert guest.turns == 1
    bench.ledger.keep_desired(Desired(revision=2, vms=(replace(VM, tuning={"io_poll_ns": "7"}),), networks=(), images=()))
    await bench.tuning.turn()
    assert guest.turns == 2


async def test_when_libvirt_is_away_it_is_tried_again(bench: Bench) -> None:
    guest = Guest(bench)
    bench.sim.fail_next("turn", Unavailable("libvirt_away", "no"))
    await bench.tuning.turn()
    await bench.tuning.turn()
    assert guest.turns == 2


def test_when_the_platform_leaves_a_machine_its_knobs_are_as_before(tmp_path: Path) -> None:
    file, stuck = tmp_path / "run", tmp_path / "stuck"
    file.write_text("1")
    stuck.mkdir()
    ledger = Ledger(tmp_path / "ledger")
    ledger.keep_tuned("ksm", {str(file): "0"}, "off")
    ledger.keep_tuned("thp", {str(stuck): "x"}, "x")
    ledger.keep_tuned("gone", {}, "x")
    put_back_knobs(tmp_path / "ledger", {"ksm": FileLever(lambda: [file]), "thp": FileLever(lambda: [stuck])})
    assert file.read_text() == "0"
    assert set(Ledger(tmp_path / "ledger").tuned) == {"thp"}, "what could not be put back is not forgotten"
    put_back_knobs(tmp_path / "no-such", {})
