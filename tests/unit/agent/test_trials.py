"""The agent makes each trial once, measures it, and says so when it was disturbed or the workload failed; one that was under way when it died is void."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.agent.trials import Trials
from houyi.host.port import GuestRun
from houyi.host.sim import SimHost
from houyi.host.sim.state import SimDomain
from houyi.model.experiment import DesiredTrial, ObservedTrial, Workload
from houyi.model.host import Accelerator, AcceleratorProbe
from houyi.model.ids import ExperimentId, ImageId, ProjectId, VmId
from houyi.model.vm import DesiredVm, ObservedVm, Power, VmSpec, VmState
from houyi.planning.lifecycle import Memory
from houyi.wire.agents import Desired
from sim.virtual import VirtualClock, VirtualLoop

VM = DesiredVm(
    id=VmId("v"),
    project_id=ProjectId("p"),
    name="v",
    epoch=1,
    generation=1,
    spec=VmSpec(image_id=ImageId("i"), vcpus=2, memory_mib=128, disk_gib=1),
    power=Power.RUNNING,
)
EXPERIMENT = ExperimentId("e")
WORK = DesiredTrial(experiment_id=EXPERIMENT, number=1, vm_id=VM.id, epoch=1, workload=Workload(argv=("work",), seconds=60.0))
LOOK = replace(WORK, workload=Workload(seconds=20.0))


class Host:
    """An agent's part for trials, on a simulated machine with a guest that has booted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.sim = SimHost(self.clock)
        self.sim.domains[VM.id] = SimDomain(VM, state=VmState.RUNNING, started_at=1.0, run=1)
        self.start()
        self.ledger.keep(VM.id, Memory(epoch=1))

    def start(self) -> None:
        """The agent's process."""
        self.ledger, self.reports = Ledger(self.folder), Reports()
        self.reports.put(ObservedVm(id=VM.id, epoch=1, generation=1, state=VmState.RUNNING))
        ports = self.sim.ports()
        self.trials = Trials(ports.guests, ports.telemetry, ports.tracing, self.ledger, self.reports, self.clock)

    async def ask(self, *trials: DesiredTrial) -> None:
        self.ledger.keep_desired(Desired(revision=1, vms=(VM,), networks=(), images=(), trials=trials))
        self.trials.turn()
        await asyncio.sleep(0)

    async def made(self, trial: DesiredTrial, seconds: float = 100.0) -> ObservedTrial:
        await self.ask(trial)
        await asyncio.sleep(seconds)
        found = self.reports.trials[EXPERIMENT]
        assert found.number == trial.number
        return found


def live(folder: Path, story: object) -> None:
    async def told() -> None:
        host = Host(folder)
        try:
            await story(host)  # type: ignore[operator]
        finally:
            await host.trials.stop()
            await host.sim.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(told())


def test_a_workload_is_run_once_and_measured(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        said = '{"work": 500, "latency_us": {"p99": 12.5}}'
        host.sim.program = lambda _vm_id, _argv: (10.0, GuestRun(exit_code=0, output=f"warming up\n{said}\n", complaint=""))
        made = await host.made(WORK)
        assert (made.void, made.error) == ("", None)
        assert made.said == {"work": 500.0, "latency_us:p99": 12.5}
        assert made.seconds == pytest.approx(10.0, abs=0.1)
        assert made.counted["cpu_seconds"] == pytest.approx(10.0 * 0.5 * 2, abs=0.2)
        assert made.counted["vcpus"] == 2
        for _ in range(3):
            host.trials.turn()
        await asyncio.sleep(30.0)
        assert host.sim.calls.count(("run", VM.id)) == 1
        again = await host.made(replace(WORK, number=2))
        assert again.said == made.said
        assert host.sim.calls.count(("run", VM.id)) == 2

    live(tmp_path, story)


def test_what_runs_is_observed(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        made = await host.made(LOOK)
        assert made.seconds == pytest.approx(20.0, abs=0.1)
        assert not made.said
        assert ("run", VM.id) not in host.sim.calls

    live(tmp_path, story)


def test_a_failing_workload_is_an_error(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        host.sim.program = lambda _vm_id, _argv: (1.0, GuestRun(exit_code=3, output="", complaint="no such table"))
        made = await host.made(WORK)
        assert made.error is not None
        assert (made.error.code, "3 in the guest: no such table" in made.error.detail) == ("workload_failed", True)
        host.sim.program = lambda _vm_id, _argv: (1000.0, GuestRun(exit_code=0, output="", complaint=""))
        slow = await host.made(replace(WORK, number=2))
        assert slow.error is not None
        assert slow.error.code == "guest_run_long"

    live(tmp_path, story)


def test_a_guest_that_ends_or_starts_again_or_moves_makes_it_void(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        await host.ask(LOOK)
        await asyncio.sleep(5.0)
        host.sim.domains[VM.id].run += 1
        await asyncio.sleep(30.0)
        assert host.reports.trials[EXPERIMENT].void == "the guest was started again meanwhile"
        await host.ask(replace(LOOK, number=2))
        await asyncio.sleep(5.0)
        host.ledger.keep(VM.id, Memory(epoch=1, moving="m"))
        await asyncio.sleep(30.0)
        assert host.reports.trials[EXPERIMENT].void == "the VM is being moved"
        host.ledger.keep(VM.id, Memory(epoch=1))
        await host.ask(replace(LOOK, number=3))
        await asyncio.sleep(5.0)
        host.sim.kill_qemu(VM.id)
        await asyncio.sleep(30.0)
        assert "not running" in host.reports.trials[EXPERIMENT].void
        assert host.reports.trials[EXPERIMENT].error is None

    live(tmp_path, story)


def test_one_that_was_under_way_when_the_agent_died_is_void(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        await host.ask(LOOK)
        await asyncio.sleep(5.0)
        await host.trials.stop()
        host.start()
        host.trials.turn()
        assert host.reports.trials[EXPERIMENT] == ObservedTrial(experiment_id=EXPERIMENT, number=1, void="the host's agent was restarted meanwhile")
        assert (await host.made(replace(LOOK, number=2))).void == ""

    live(tmp_path, story)


def test_what_is_no_longer_asked_for_is_stopped_and_forgotten(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        await host.ask(LOOK)
        await asyncio.sleep(5.0)
        await host.ask()
        await asyncio.sleep(60.0)
        assert not host.reports.trials
        assert not host.ledger.trials
        assert not Ledger(tmp_path).trials
        await host.made(replace(LOOK, number=2))
        await host.ask()
        assert not host.reports.trials

    live(tmp_path, story)


def test_a_busy_libvirt_is_waited_for(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        host.sim.busy.add(VM.id)
        await host.ask(LOOK)
        await asyncio.sleep(1.0)
        host.sim.busy.clear()
        await asyncio.sleep(30.0)
        assert host.reports.trials[EXPERIMENT].void == ""

    live(tmp_path, story)


def test_exits_by_reason_are_traced_meanwhile(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        probe = AcceleratorProbe(accelerator=Accelerator.KVM, verdict="works", reason="x")
        host.sim.facts = replace(host.sim.facts, accelerator=probe)
        made = await host.made(replace(LOOK, workload=Workload(seconds=9.0)))
        reasons = {name: count for name, count in made.counted.items() if name.startswith("reason:")}
        assert sum(reasons.values()) == pytest.approx(made.counted["exits"], rel=0.02), "four pieces of two seconds stand for nine"
        await host.made(replace(LOOK, number=2, workload=Workload(seconds=300.0)), 400.0)
        assert host.sim.calls.count(("profile", VM.id)) <= 4 + 1 + 30, "never for longer than a minute"

    live(tmp_path, story)


def test_it_waits_until_live_knobs_are_read_back(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        turned = {"io_poll_ns": "50000"}
        asked = Desired(revision=1, vms=(replace(VM, tuning=turned),), networks=(), images=(), trials=(LOOK,))
        host.ledger.keep_desired(asked)
        host.trials.turn()
        await asyncio.sleep(3.0)
        host.reports.put(ObservedVm(id=VM.id, epoch=1, generation=1, state=VmState.RUNNING, tuned=turned))
        await asyncio.sleep(22.0)
        assert host.reports.trials[EXPERIMENT].seconds == pytest.approx(20.0, abs=0.1)
        host.reports.put(ObservedVm(id=VM.id, epoch=1, generation=1, state=VmState.RUNNING))
        host.ledger.keep_desired(replace_trials(asked, replace(LOOK, number=2)))
        host.trials.turn()
        await asyncio.sleep(60.0)
        error = host.reports.trials[EXPERIMENT].error
        assert error is not None
        assert (error.code, "io_poll_ns=50000" in error.detail) == ("knob_not_turned", True)

    live(tmp_path, story)


def replace_trials(desired: Desired, *trials: DesiredTrial) -> Desired:
    return Desired(revision=desired.revision, vms=desired.vms, networks=(), images=(), trials=trials)
