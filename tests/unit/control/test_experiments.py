"""Experiments with a VM in the store: asked for, moved on by the workflow with what its host tells, cancelled, and what of each may be asked."""

from dataclasses import replace

import pytest

from desk import Desk
from houyi.control.commands.experiment import ExperimentAsk, cancel_experiment, try_tuning
from houyi.control.commands.operation import cancel_operation
from houyi.control.commands.vm import VmChanges, stop_vm, update_vm_desired
from houyi.control.intake.experiment import take_trials
from houyi.control.workflows.experiment import try_settings
from houyi.model.errors import Conflict, Invalid, NotFound
from houyi.model.experiment import ENDED, DesiredTrial, Experiment, ExperimentState, ObservedTrial, Workload
from houyi.model.ids import HostId
from houyi.model.operation import Operation, OperationState
from houyi.model.vm import DesiredVm, GuestAgent, Power, Vm, VmState
from houyi.planning.tuning.trying import RUNS_MIN
from houyi.store.claims import claim_host
from houyi.store.courses import move_experiment
from houyi.store.rows.vm import insert_vm, put_observed, update_vm
from houyi.store.views.event import list_events
from houyi.store.views.experiment import get_experiment, list_experiments
from houyi.store.views.host import desired_of
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import a_vm, an_observation

ASK = ExperimentAsk(knobs={"hpet": "on"}, workload=Workload(argv=("work",), seconds=10.0), runs=RUNS_MIN, restart=True, keep=True, settle_seconds=0.0)
LIVE = replace(ASK, knobs={"io_poll_ns": "50000"}, restart=False)


class Bench:
    """A VM that runs on the desk's host, and the host that obeys."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.vm_id = ""
        self.helps = True
        self.trials = 0

    async def put_vm(self) -> None:
        vm = a_vm(self.desk.image)
        amounts = {"vcpu": 1, "memory_mib": 192, "disk_gib": 1}
        await self.desk.store.apply([insert_vm(vm, False, self.desk.clock.now())])
        await self.desk.store.apply([claim_host(vm, self.desk.host_id, amounts, dict.fromkeys(amounts, 10000), self.desk.clock.now())])
        self.vm_id = vm.id
        await self.obey()

    async def vm(self) -> Vm:
        return await self.desk.store.read(lambda c: get_vm(c, self.vm_id, None))

    async def obey(self) -> None:
        """What is desired is in force."""
        desired = (await self.vm()).desired
        state = VmState.RUNNING if desired.power is Power.RUNNING else VmState.STOPPED
        seen = an_observation(desired, state, guest_agent=GuestAgent.CONNECTED, started_at=1.0)
        await self.desk.store.apply([put_observed(self.desk.host_id, desired.project_id, seen)])

    async def told(self) -> tuple[DesiredTrial, ...]:
        return (await self.desk.store.read(lambda c: desired_of(c, self.desk.host_id))).trials

    async def make(self, **values: object) -> None:
        """The trials that the host is told to make."""
        vm = (await self.vm()).desired
        for trial in await self.told():
            self.trials += 1
            cpu = (1 + 0.01 * (self.trials % 3)) * (0.5 if self.helps and vm.spec.knobs else 1.0)
            made = ObservedTrial(experiment_id=trial.experiment_id, number=trial.number, seconds=5.0, counted={"cpu_seconds": cpu}, said={"work": 10.0})
            await take_trials(self.desk.control, self.desk.host_id, [replace(made, **values)])  # type: ignore[arg-type]

    async def go(self, experiment: Experiment) -> Experiment:
        """Until it ends."""
        for _ in range(400):
            await try_settings(self.desk.control)
            await self.obey()
            await self.make()
            self.desk.clock.at += 1.0
            now = await self.now(experiment)
            if now.course.state in ENDED:
                return now
        raise AssertionError(now.course)

    async def now(self, experiment: Experiment) -> Experiment:
        return await self.desk.store.read(lambda c: get_experiment(c, experiment.id, None))

    async def operation(self, operation: Operation) -> Operation:
        return await self.desk.store.read(lambda c: get_operation(c, operation.id, None))

    async def begin(self, ask: ExperimentAsk = ASK) -> tuple[Experiment, Operation]:
        return await try_tuning(self.desk.control, self.desk.me, self.vm_id, ask)


@pytest.fixture
async def bench(desk: Desk) -> Bench:
    made = Bench(desk)
    await made.put_vm()
    return made


@pytest.mark.parametrize("ask", [ASK, LIVE], ids=["restart", "live"])
async def test_what_helps_is_kept(bench: Bench, ask: ExperimentAsk) -> None:
    begun, operation = await bench.begin(ask)
    ended = await bench.go(begun)
    assert (ended.course.state, ended.course.kept) == (ExperimentState.DONE, True)
    assert (await bench.vm()).desired.spec.knobs == ask.knobs
    assert (await bench.vm()).desired.power is Power.RUNNING
    done = await bench.operation(operation)
    assert (done.state, done.progress, done.cancellable) == (OperationState.DONE, 1.0, False)
    assert "cpu_per_work" in done.stage
    assert await bench.told() == ()
    events = [event.kind for event in (await bench.desk.store.read(lambda c: list_events(c, None, EVERYTHING))).items]
    assert events.count("vm.experiment") == events.count("vm.experiment_end") == 1
    assert events.count("vm.tuned") >= 7


async def test_what_does_not_help_is_taken_back(bench: Bench) -> None:
    bench.helps = False
    begun, _ = await bench.begin()
    ended = await bench.go(begun)
    assert (ended.course.state, ended.course.kept) == (ExperimentState.DONE, False)
    vm = (await bench.vm()).desired
    assert (vm.spec.knobs, vm.power) == ({}, Power.RUNNING)


async def test_cancelled_by_itself_or_by_its_operation(bench: Bench) -> None:
    for by_operation in (False, True):
        begun, operation = await bench.begin()
        for _ in range(12):
            await try_settings(bench.desk.control)
            await bench.obey()
            await bench.make()
        for _ in range(2):  # asked again: nothing
            if by_operation:
                await cancel_operation(bench.desk.control, bench.desk.me, operation.id)
            else:
                assert (await cancel_experiment(bench.desk.control, bench.desk.me, begun.id)).spec.cancelled
        ended = await bench.go(begun)
        assert ended.course.state is ExperimentState.CANCELLED
        assert (await bench.operation(operation)).state is OperationState.CANCELLED
        assert (await bench.vm()).desired.spec.knobs == {}
        with pytest.raises(Conflict, match="cancelled already"):
            await cancel_experiment(bench.desk.control, bench.desk.me, begun.id)
        with pytest.raises(NotFound):
            await cancel_experiment(bench.desk.control, bench.desk.them, begun.id)


async def test_a_users_stop_ends_it(bench: Bench) -> None:
    begun, _ = await bench.begin()
    for _ in range(12):
        await try_settings(bench.desk.control)
        await bench.obey()
        await bench.make()
    await stop_vm(bench.desk.control, bench.desk.me, bench.vm_id)
    ended = await bench.go(begun)
    assert ended.course.error is not None
    assert ended.course.error.code == "vm_changed"
    vm = (await bench.vm()).desired
    assert (vm.power, vm.spec.knobs) == (Power.STOPPED, {})


async def test_what_may_not_be_tried(bench: Bench) -> None:
    async def refused(code: str, **changes: object) -> None:
        with pytest.raises((Conflict, Invalid)) as told:
            await bench.begin(replace(ASK, **changes))  # type: ignore[arg-type]
        assert told.value.code == code

    await refused("runs_invalid", runs=RUNS_MIN - 1)
    await refused("runs_invalid", runs=1000)
    await refused("workload_invalid", workload=Workload(seconds=0.5))
    await refused("workload_invalid", workload=Workload(argv=("",)))
    await refused("workload_invalid", workload=Workload(argv=("x" * 20000,)))
    await refused("workload_invalid", settle_seconds=1e6)
    await refused("knob_unknown", knobs={"warp": "9"})
    await refused("profile_unknown", profile="ludicrous")
    await refused("restart_needed", restart=False)
    await refused("knob_refused", knobs={"pv_eoi": "on"})
    await refused("nothing_to_try", knobs={})
    await refused("nothing_to_try", knobs={"hpet": "off"})
    await bench.begin()
    await refused("vm_under_experiment")
    assert len((await bench.desk.store.read(lambda c: list_experiments(c, None, EVERYTHING, vm_id=bench.vm_id, open_only=True))).items) == 1


async def test_only_what_runs_is_tried_on(bench: Bench) -> None:
    await stop_vm(bench.desk.control, bench.desk.me, bench.vm_id)
    with pytest.raises(Conflict, match="start it first"):
        await bench.begin()
    await bench.obey()
    with pytest.raises(Conflict, match="start it first"):
        await bench.begin()


async def test_two_servers_move_it_on_once(bench: Bench) -> None:
    begun, _ = await bench.begin(LIVE)
    await try_settings(bench.desk.control)
    seen = await bench.now(begun)
    await bench.desk.store.apply([move_experiment(seen, replace(seen.course, why="another server's"))])
    with pytest.raises(Exception, match="another server"):
        await bench.desk.store.apply([move_experiment(seen, replace(seen.course, why="mine"))])
    with pytest.raises(ValueError, match="may not become"):
        move_experiment(seen, replace(seen.course, state=ExperimentState.DONE))


async def test_strange_and_late_words_of_trials_are_dropped(bench: Bench) -> None:
    begun, _ = await bench.begin(LIVE)
    await try_settings(bench.desk.control)
    (trial,) = await bench.told()
    assert (trial.vm_id, trial.epoch, trial.workload) == (bench.vm_id, 1, LIVE.workload)
    made = ObservedTrial(experiment_id=begun.id, number=trial.number, seconds=5.0, counted={"cpu_seconds": 1.0, "x" * 100: 1.0, "bad": float("nan")})
    for host_id, one in ((HostId("other"), made), (bench.desk.host_id, replace(made, number=7)), (bench.desk.host_id, replace(made, experiment_id="none"))):
        await take_trials(bench.desk.control, host_id, [one])  # type: ignore[list-item]
    assert (await bench.now(begun)).trial is None
    await take_trials(bench.desk.control, bench.desk.host_id, [made])
    await take_trials(bench.desk.control, bench.desk.host_id, [replace(made, seconds=9.0)])
    kept = (await bench.now(begun)).trial
    assert kept is not None
    assert (kept.counted, kept.seconds) == ({"cpu_seconds": 1.0}, 5.0)


async def test_somebody_elses_settings_stay(bench: Bench) -> None:
    begun, _ = await bench.begin(LIVE)
    await try_settings(bench.desk.control)
    vm = await bench.vm()
    theirs: DesiredVm = replace(vm.desired, spec=replace(vm.desired.spec, knobs={"hpet": "on"}), generation=vm.desired.generation + 1)
    await update_vm_desired(bench.desk.control, bench.desk.me, bench.vm_id, VmChanges(labels={"a": "b"}))
    await bench.desk.store.apply([update_vm(theirs, False)])
    ended = await bench.go(begun)
    assert ended.course.state is ExperimentState.FAILED
    assert (await bench.vm()).desired.spec.knobs == {"hpet": "on"}
