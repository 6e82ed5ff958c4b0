"""The course of an experiment in a little world of one VM: it measures, judges, keeps or rolls back; and whatever happens, it ends with settings that are justified."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.experiment import ENDED, NEXT, Experiment, ExperimentCourse, ExperimentSpec, ExperimentState, ObservedTrial, Tuning, Workload
from houyi.model.ids import ExperimentId, HostId, ImageId, MigrationId, OperationId, ProjectId, VmId
from houyi.model.operation import OperationState
from houyi.model.series import Arm, Rules, Verdict
from houyi.model.vm import DesiredVm, GuestAgent, ObservedVm, Power, Vm, VmSpec, VmState
from houyi.planning.tuning.course import PATIENCE_SECONDS, decide, progress_of_experiment, serials_of, tuning_of, wished
from houyi.planning.tuning.series import runs_max

BEFORE, CHANGE = Tuning(), Tuning(profile="latency", knobs={"x2apic": "on"})
RULES = Rules(blocks_max=3)
_S = ExperimentState


def a_spec(**values: object) -> ExperimentSpec:
    whole = {"before": BEFORE, "change": CHANGE, "workload": Workload(argv=("work",), seconds=60.0), "rules": RULES, "keep": True, **values}
    return ExperimentSpec(**whole)  # type: ignore[arg-type]


@dataclass
class Place:
    """One VM on a host that obeys as fast as it is told to `settle`; trials take `ratio` times as many exits with the change."""

    spec: ExperimentSpec
    ratio: float = 0.5
    at: float = 1000.0
    running: Tuning = field(default_factory=lambda: BEFORE)
    """What the guest was started with, or was given live."""
    states: list[ExperimentState] = field(default_factory=list)
    trials: int = 0
    fails: Problem | None = None
    """Of the next start, or change, with the new settings."""

    def __post_init__(self) -> None:
        spec = VmSpec(image_id=ImageId("i"), vcpus=1, memory_mib=128, disk_gib=1)
        desired = DesiredVm(id=VmId("v"), project_id=ProjectId("p"), name="v", epoch=1, generation=1, spec=spec, power=Power.RUNNING)
        observed = ObservedVm(id=VmId("v"), epoch=1, generation=1, state=VmState.RUNNING, guest_agent=GuestAgent.CONNECTED, started_at=1.0)
        self.vm: Vm | None = Vm(
            desired=desired, protected=False, host_id=HostId("h"), observed=observed, host_heard=True, migration_id=None, created_at=1.0, revision=1
        )
        self.experiment = Experiment(
            id=ExperimentId("e"),
            project_id=ProjectId("p"),
            vm_id=VmId("v"),
            vm_name="v",
            operation_id=OperationId("o"),
            spec=self.spec,
            course=ExperimentCourse(serials=serials_of(desired), stirred_at=self.at),
            trial=None,
            created_at=self.at,
            revision=1,
        )

    @property
    def course(self) -> ExperimentCourse:
        return self.experiment.course

    @property
    def ended(self) -> bool:
        return self.course.state in ENDED

    def desire(self, **values: object) -> None:
        assert self.vm is not None
        self.vm = replace(self.vm, desired=replace(self.vm.desired, generation=self.vm.desired.generation + 1, **values))  # type: ignore[arg-type]

    def observe(self, **values: object) -> None:
        assert self.vm is not None
        assert self.vm.observed is not None
        self.vm = replace(self.vm, observed=replace(self.vm.observed, **values))  # type: ignore[arg-type]

    def step(self) -> None:
        """The workflow's pass."""
        self.at += 1.0
        decision = decide(self.experiment, self.vm, self.at)
        state, was = decision.course.state, self.course.state
        assert state is was or state in NEXT[was]
        if state is not was:
            self.states.append(state)
        self.experiment = replace(self.experiment, course=decision.course)
        if decision.wish is not None:
            assert self.vm is not None
            self.vm = replace(self.vm, desired=wished(self.vm.desired, decision.wish))
        progress_of_experiment(self.experiment)

    def settle(self) -> None:
        """The host puts in force what is desired, and makes the trial that is asked for."""
        if self.vm is None or self.vm.observed is None or not self.vm.host_heard or self.vm.migration_id is not None:
            return
        desired, observed = self.vm.desired, self.vm.observed
        if desired.deleted:
            self.vm = None
            return
        if observed.generation < desired.generation and observed.error_generation < desired.generation:
            if self.fails is not None and tuning_of(desired) == CHANGE:
                self.observe(error=self.fails, error_generation=desired.generation, generation=desired.generation)
                return
            state = {Power.RUNNING: VmState.RUNNING, Power.PAUSED: VmState.PAUSED, Power.STOPPED: VmState.STOPPED}[desired.power]
            if state is VmState.RUNNING and (observed.state is VmState.STOPPED or not self.spec.restart):
                self.running = tuning_of(desired)
                self.observe(started_at=self.at if observed.state is VmState.STOPPED else observed.started_at)
            self.observe(generation=desired.generation, state=state)
        if self.course.ordered and (self.experiment.trial is None or self.experiment.trial.number != self.course.trial):
            self.tell()

    def tell(self, **values: object) -> None:
        self.trials += 1
        noise = 1 + 0.01 * ((self.trials * 7) % 5 - 2)
        exits = 1000.0 * noise * (self.ratio if self.running == CHANGE else 1.0)
        trial = ObservedTrial(
            experiment_id=self.experiment.id, number=self.course.trial, seconds=10.0, counted={"exits": exits, "cpu_seconds": 5.0 * noise}, said={"work": 100.0}
        )
        self.experiment = replace(self.experiment, trial=replace(trial, **values))  # type: ignore[arg-type]
        self.at += 10.0

    def go(self, steps: int = 2000) -> None:
        """Until it ends."""
        for _ in range(steps):
            if self.ended:
                return
            self.settle()
            self.step()
        raise AssertionError(f"it has not ended: {self.course}")

    def go_to(self, runs: int) -> None:
        while len(self.course.runs) < runs:
            assert not self.ended, self.course
            self.settle()
            self.step()

    @property
    def asked(self) -> Tuning:
        assert self.vm is not None
        return tuning_of(self.vm.desired)


WAYS = pytest.mark.parametrize("restart", [False, True])


@WAYS
def test_what_helps_is_kept(restart: bool) -> None:
    place = Place(a_spec(restart=restart))
    place.go()
    assert place.course.state is _S.DONE
    assert place.course.kept
    assert place.states == [_S.JUDGING, _S.KEEPING, _S.DONE]
    assert place.asked == place.running == CHANGE
    assert place.course.judgement is not None
    assert place.course.judgement.verdict is Verdict.BETTER
    assert [run.arm for run in place.course.runs[:6]] == [Arm.BEFORE, Arm.AFTER, Arm.BEFORE, Arm.AFTER, Arm.AFTER, Arm.BEFORE]
    assert place.course.measures[0].name == "exits_per_work"


@WAYS
@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, Verdict.NO_DIFFERENCE), (2.0, Verdict.WORSE)])
def test_what_does_not_help_is_taken_back(restart: bool, ratio: float, verdict: Verdict) -> None:
    place = Place(a_spec(restart=restart), ratio)
    place.go()
    assert place.states == [_S.JUDGING, _S.ROLLING_BACK, _S.DONE]
    assert not place.course.kept
    assert place.course.judgement is not None
    assert place.course.judgement.verdict is verdict
    assert place.asked == place.running == BEFORE


@WAYS
def test_without_keep_it_is_taken_back_however_good(restart: bool) -> None:
    place = Place(a_spec(restart=restart, keep=False))
    place.go()
    assert (place.course.state, place.course.kept) == (_S.DONE, False)
    assert place.asked == place.running == BEFORE


@WAYS
@pytest.mark.parametrize("runs", [0, 1, 2, 4, 5, 9])
def test_cancelled_it_is_taken_back(restart: bool, runs: int) -> None:
    place = Place(a_spec(restart=restart))
    place.go_to(runs)
    place.experiment = replace(place.experiment, spec=replace(place.spec, cancelled=True))
    place.go()
    assert place.course.state is _S.CANCELLED
    assert progress_of_experiment(place.experiment).state is OperationState.CANCELLED
    assert place.asked == place.running == BEFORE


@WAYS
def test_settings_that_the_vm_does_not_take_end_it(restart: bool) -> None:
    place = Place(a_spec(restart=restart), fails=Problem("domain_refused", "no such thing"))
    place.go()
    assert place.course.state is _S.FAILED
    assert place.course.error == Problem("domain_refused", "no such thing")
    assert place.asked == place.running == BEFORE


@WAYS
def test_a_workload_that_fails_ends_it(restart: bool) -> None:
    place = Place(a_spec(restart=restart))
    place.go_to(3)
    while not place.course.ordered:
        place.settle()
        place.step()
    place.tell(error=Problem("workload_failed", "it ended with 1"))
    place.go()
    assert place.course.state is _S.FAILED
    assert place.course.error is not None
    assert place.course.error.code == "workload_failed"
    assert place.asked == place.running == BEFORE


def test_a_disturbed_run_is_made_again_and_too_many_end_it() -> None:
    place = Place(a_spec())
    place.go_to(4)
    for voided in range(1, 12):
        while not place.course.ordered:
            place.settle()
            place.step()
        place.tell(void="the guest was started again meanwhile")
        place.step()
        assert place.course.voided == voided
        assert len(place.course.runs) == 4
    assert place.course.error is not None
    assert place.course.error.code == "experiment_disturbed"
    place.go()
    assert place.asked == BEFORE


def test_a_move_voids_the_run_and_the_block() -> None:
    place = Place(a_spec())
    place.go_to(8)
    assert place.vm is not None
    while not place.course.ordered:
        place.settle()
        place.step()
    place.vm = replace(place.vm, migration_id=MigrationId("m"))
    place.step()
    assert not place.course.ordered
    assert place.course.voided == 1
    place.vm = replace(place.vm, migration_id=None, host_id=HostId("other"), desired=replace(place.vm.desired, epoch=2))
    place.observe(epoch=2)
    place.step()
    assert len(place.course.runs) == 6, "the block that was made on two hosts is not whole"
    place.go()
    assert place.course.kept
    assert len(place.course.runs) == runs_max(RULES)


def test_a_guest_that_crashed_and_came_back_begins_its_block_anew() -> None:
    place = Place(a_spec())
    place.go_to(9)
    place.observe(started_at=place.at)
    for _ in range(3):
        place.settle()
        place.step()
    assert len(place.course.runs) == 6
    place.go()
    assert place.course.kept


@WAYS
@pytest.mark.parametrize("power", [Power.STOPPED, Power.PAUSED])
def test_a_users_verb_ends_it_and_is_respected(restart: bool, power: Power) -> None:
    place = Place(a_spec(restart=restart))
    place.go_to(4)
    assert place.vm is not None
    place.desire(power=power, power_serial=place.vm.desired.power_serial + 1)
    place.go()
    assert place.course.state is _S.FAILED
    assert place.course.error is not None
    assert place.course.error.code == "vm_changed"
    assert place.vm.desired.power is power
    assert place.asked == BEFORE


def test_settings_that_somebody_else_changes_are_theirs() -> None:
    place = Place(a_spec())
    place.go_to(4)
    assert place.vm is not None
    theirs = Tuning(profile="dense", knobs={})
    place.desire(spec=replace(place.vm.desired.spec, profile="dense", knobs={}))
    place.go()
    assert place.course.error is not None
    assert place.course.error.code == "vm_changed"
    assert place.asked == theirs


def test_a_vm_that_is_deleted_ends_it() -> None:
    place = Place(a_spec())
    place.go_to(4)
    place.desire(deleted=True)
    place.go()
    assert place.course.state is _S.FAILED
    place = Place(a_spec(restart=True))
    place.go_to(3)
    place.vm = None
    place.go()
    assert place.course.state is _S.FAILED


@WAYS
def test_a_host_that_is_away_for_good_ends_it_and_the_old_settings_are_asked_for(restart: bool) -> None:
    place = Place(a_spec(restart=restart))
    place.go_to(4)
    assert place.vm is not None
    place.vm = replace(place.vm, host_heard=False)
    place.step()
    place.at += PATIENCE_SECONDS + 100
    place.step()
    assert place.course.error is not None
    assert place.course.error.code == "experiment_stuck"
    place.step()
    place.at += PATIENCE_SECONDS + 100
    place.go()
    assert place.course.state is _S.FAILED
    assert place.asked == BEFORE
    assert place.vm.desired.power is Power.RUNNING


def test_nothing_that_decides_was_measured() -> None:
    place = Place(a_spec(main="latency_us:p99"))
    place.go()
    assert place.course.error is not None
    assert place.course.error.code == "nothing_measured"
    assert "exits_per_work" in place.course.error.detail
    assert place.asked == BEFORE


EVENTS = (
    "settle",
    "settle",
    "settle",
    "void",
    "fail",
    "stop",
    "start",
    "crash",
    "move",
    "arrive",
    "away",
    "back",
    "cancel",
    "delete",
    "theirs",
    "hours",
    "refuse",
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(EVENTS), max_size=60), st.booleans(), st.booleans(), st.sampled_from([0.5, 1.0, 2.0]))
def test_whatever_happens_it_ends_with_settings_that_are_justified(events: list[str], restart: bool, keep: bool, ratio: float) -> None:
    place = Place(a_spec(restart=restart, keep=keep), ratio)
    theirs = False
    for event in events:
        place.step()
        if place.ended or place.vm is None or place.vm.observed is None:
            break
        theirs = theirs or (event == "theirs")
        _happen(place, event)
    if place.vm is not None:
        place.vm = replace(place.vm, host_heard=True, migration_id=None)
    place.fails = None
    place.go()
    if place.vm is None or place.vm.desired.deleted:
        assert not place.course.kept
    elif theirs and place.asked not in (BEFORE, CHANGE):
        assert place.asked.profile == "dense"
    else:
        assert place.asked == (CHANGE if place.course.kept else BEFORE)
    if place.course.kept:
        assert keep
        assert place.course.judgement is not None
        assert place.course.judgement.keeps
    assert place.course.phase.value == "steady"


def _happen(place: Place, event: str) -> None:
    vm = place.vm
    assert vm is not None
    match event:
        case "settle":
            place.settle()
        case "void" | "fail" if place.course.ordered:
            place.tell(**({"void": "x"} if event == "void" else {"error": Problem("workload_failed", "x")}))
        case "stop":
            place.desire(power=Power.STOPPED, power_serial=vm.desired.power_serial + 1)
        case "start":
            place.desire(power=Power.RUNNING, power_serial=vm.desired.power_serial + 1)
        case "crash":
            place.observe(state=VmState.CRASHED)
        case "move":
            place.vm = replace(vm, migration_id=MigrationId("m"))
        case "arrive":
            place.vm = replace(vm, migration_id=None, host_id=HostId("other"))
        case "away":
            place.vm = replace(vm, host_heard=False)
        case "back":
            place.vm = replace(vm, host_heard=True)
        case "cancel":
            place.experiment = replace(place.experiment, spec=replace(place.experiment.spec, cancelled=True))
        case "delete":
            place.desire(deleted=True)
        case "theirs":
            place.desire(spec=replace(vm.desired.spec, profile="dense", knobs={}))
        case "hours":
            place.at += 3600.0
        case "refuse":
            place.fails = Problem("domain_refused", "x")
        case _:
            return
