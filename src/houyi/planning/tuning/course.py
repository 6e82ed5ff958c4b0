"""What comes next in an experiment: from its course, its VM as it is now and the clock, to the next course and what is wished of the VM. Pure.

Asked again after every change and now and then; each answer depends on its arguments only. Whoever writes the course writes the wish in the same transaction, so
what was wished is always known. Everything that can go wrong leads to ROLLING_BACK, and that ends in a bounded time with the old settings asked for, whatever the VM,
its host or its user do meanwhile. A user's verb (stop, pause, reboot ...) ends the experiment and is respected; so are settings that somebody else has changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from houyi.model.errors import Problem
from houyi.model.experiment import ENDED, Experiment, ExperimentCourse, ExperimentSpec, ExperimentState, Phase, Tuning
from houyi.model.operation import OperationState
from houyi.model.series import Arm
from houyi.model.vm import DesiredVm, GuestAgent, ObservedVm, Power, Vm, VmState
from houyi.planning.operations import Progress
from houyi.planning.tuning.measures import chosen, run_of
from houyi.planning.tuning.series import BLOCK, WARM_UP, arm, judge, runs_max

PATIENCE_SECONDS = 900.0
"""How long an experiment may stand still beside the time of a run: a guest that boots, a host that is away, a move of the VM take minutes."""
VOIDS_MAX = 10
"""Trials that were disturbed: more than this, and the machine is too restless to tell anything."""

_E = ExperimentState


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be asked of the VM, as a new generation of it. None: as it is."""

    tuning: Tuning | None = None
    power: Power | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    course: ExperimentCourse
    wish: Wish | None = None
    ready: bool = False
    """The VM runs with the settings that were wanted."""


def decide(experiment: Experiment, vm: Vm | None, at: float) -> Decision:
    """:param vm: None: it is gone. :param at: Unix seconds of the server."""
    before = experiment.course
    if before.state in ENDED:
        return Decision(course=before)
    decision = _STEPS[before.state](experiment, vm, at)
    after = decision.course
    if replace(after, why=before.why) != before:
        after = replace(after, stirred_at=at)
    if after.state in ENDED:
        after = replace(after, ended_at=at, ordered=False)
    return replace(decision, course=after)


def tuning_of(vm: DesiredVm) -> Tuning:
    return Tuning(profile=vm.spec.profile, knobs=dict(vm.spec.knobs))


def serials_of(vm: DesiredVm) -> tuple[int, int, int]:
    """They grow with every verb."""
    return vm.power_serial, vm.reboot_serial, vm.reset_serial


def wished(vm: DesiredVm, wish: Wish) -> DesiredVm:
    """The VM as it is to be asked for next."""
    if wish.tuning is not None:
        vm = replace(vm, spec=replace(vm.spec, profile=wish.tuning.profile, knobs=dict(wish.tuning.knobs)))
    if wish.power is not None:
        vm = replace(vm, power=wish.power, power_serial=vm.power_serial + 1)
    return replace(vm, generation=vm.generation + 1)


def _settings(spec: ExperimentSpec, side: Arm | None) -> Tuning:
    return spec.change if side is Arm.AFTER else spec.before


def _measure(experiment: Experiment, vm: Vm | None, at: float) -> Decision:
    spec, course = experiment.spec, experiment.course
    stopped = _ends(experiment, vm, at)
    if stopped is not None or vm is None:
        return stopped or _back(course, "vm_deleted", "the VM is gone")
    if vm.migration_id is not None:
        return _wait(_voided(course), "the VM is being moved to another host")
    if not vm.host_heard:
        return _wait(course, "its host is not heard of")
    decision = _toward(spec, course, vm, arm(len(course.runs)))
    if not decision.ready or vm.observed is None:
        return decision
    course = _grounded(spec, decision.course, vm.host_id or "", vm.observed)
    if arm(len(course.runs)) is not course.arm:
        return Decision(course=course)
    if not course.ordered:
        return _begin(spec, course, vm.observed, at)
    return _heard(experiment, course)


def _ends(experiment: Experiment, vm: Vm | None, at: float) -> Decision | None:
    """Why there is nothing more to measure (or to keep), if so."""
    spec, course = experiment.spec, experiment.course
    if vm is None or vm.desired.deleted:
        return _back(course, "vm_deleted", "the VM was deleted meanwhile")
    if spec.cancelled and course.state is _E.MEASURING:
        return Decision(course=replace(_voided(course), state=_E.ROLLING_BACK, why="cancellation asked"))
    if serials_of(vm.desired) != course.serials:
        return _back(course, "vm_changed", "the VM was told to start, stop, pause or reboot meanwhile: begin the experiment again when it may be left alone")
    if tuning_of(vm.desired) != _settings(spec, course.arm):
        return _back(course, "vm_changed", "the VM's profile or knobs were changed meanwhile: begin the experiment again with what it has now")
    if at - course.stirred_at > PATIENCE_SECONDS + spec.workload.seconds:
        return _back(
            course, "experiment_stuck", f"nothing has moved for {PATIENCE_SECONDS / 60:.0f} minutes: {course.why or 'its host has told nothing of the run'}"
        )
    return None


def _toward(spec: ExperimentSpec, course: ExperimentCourse, vm: Vm, side: Arm) -> Decision:
    """One step closer to a VM that runs with the settings of `side`."""
    observed, desired = vm.observed, vm.desired
    settled = observed is not None and observed.epoch == desired.epoch and observed.generation >= desired.generation
    broken = observed.error if observed is not None and observed.error_generation >= desired.generation else None
    if course.phase is Phase.STOPPING and (settled or broken):
        wish = Wish(tuning=_settings(spec, side), power=Power.RUNNING)
        return Decision(course=_told(replace(course, phase=Phase.STARTING, arm=side, why="starting it with the other settings")), wish=wish)
    if course.phase is Phase.STOPPING:
        return _wait(course, "waiting for the guest to stop")
    if course.arm is not side:
        fresh = replace(_voided(course), ready_at=0.0)
        if spec.restart:
            return Decision(course=_told(replace(fresh, phase=Phase.STOPPING, why="stopping it to change its settings")), wish=Wish(power=Power.STOPPED))
        tuning = _settings(spec, side)
        return Decision(course=replace(fresh, arm=side, why="changing its settings"), wish=None if tuning_of(desired) == tuning else Wish(tuning=tuning))
    if broken is not None:
        return Decision(course=replace(course, state=_E.ROLLING_BACK, error=broken, why="the VM does not take the settings"))
    if observed is None or not settled:
        return _wait(course, "waiting for the settings to be in force")
    if observed.state is not VmState.RUNNING:
        return _wait(_voided(course), f"the VM is {observed.state.value}")
    return Decision(course=replace(course, phase=Phase.STEADY), ready=True)


def _grounded(spec: ExperimentSpec, course: ExperimentCourse, host: str, observed: ObservedVm) -> ExperimentCourse:
    """On another host, or after another start that was not ours, figures are others: a block that is not whole begins anew."""
    ground = host if spec.restart else f"{host} {observed.started_at}"
    if course.ground == ground:
        return course
    made = len(course.runs)
    whole = 0 if made < len(WARM_UP) else made - (made - len(WARM_UP)) % len(BLOCK)
    moved = replace(course, ground=ground, runs=course.runs[:whole])
    return _voided(replace(moved, ready_at=0.0)) if course.ground else moved


def _begin(spec: ExperimentSpec, course: ExperimentCourse, observed: ObservedVm, at: float) -> Decision:
    if spec.workload.argv and observed.guest_agent is not GuestAgent.CONNECTED:
        return _wait(course, "its guest agent does not answer, and it is to run the workload")
    if not course.ready_at:
        return _wait(replace(course, ready_at=at), "the guest settles")
    if at < course.ready_at + spec.settle_seconds:
        return _wait(course, "the guest settles")
    number = len(course.runs)
    told = f"run {number + 1} of at most {runs_max(spec.rules)}, {'with' if course.arm is Arm.AFTER else 'without'} the change"
    return Decision(course=replace(course, trial=course.trial + 1, ordered=True, why=told))


def _heard(experiment: Experiment, course: ExperimentCourse) -> Decision:
    """What the host tells of the trial that is under way."""
    spec, trial = experiment.spec, experiment.trial
    if trial is None or trial.number != course.trial:
        return Decision(course=course)
    if trial.error is not None:
        return _back(course, trial.error.code, trial.error.detail)
    if trial.void:
        course = replace(_voided(course), ready_at=0.0, why=trial.void)
        return (
            _back(course, "experiment_disturbed", f"{VOIDS_MAX} runs were disturbed, the last because {trial.void}")
            if course.voided > VOIDS_MAX
            else Decision(course=course)
        )
    runs = (*course.runs, run_of(arm(len(course.runs)), spec.workload, trial))
    course = replace(course, runs=runs, ordered=False)
    if len(runs) == len(WARM_UP):
        course = replace(course, measures=chosen(spec.workload, spec.main, runs))
        if not course.measures:
            there = ", ".join(sorted(set(runs[0].values) & set(runs[1].values))) or "nothing"
            return _back(course, "nothing_measured", f"{spec.main or 'nothing that decides'} was not measured in the first two runs: there is {there}")
    if len(runs) <= len(WARM_UP):
        return Decision(course=course)
    judgement = judge(course.measures, runs, spec.rules)
    course = replace(course, judgement=judgement)
    return Decision(course=replace(course, state=_E.JUDGING, why=judgement.why) if judgement.enough else course)


def _judge(experiment: Experiment, vm: Vm | None, at: float) -> Decision:
    course = experiment.course
    keeps = course.judgement is not None and course.judgement.keeps and experiment.spec.keep and not experiment.spec.cancelled
    return Decision(course=replace(course, state=_E.KEEPING if keeps else _E.ROLLING_BACK))


def _keep(experiment: Experiment, vm: Vm | None, at: float) -> Decision:
    stopped = _ends(experiment, vm, at)
    if stopped is not None or vm is None:
        return stopped or _back(experiment.course, "vm_deleted", "the VM is gone")
    if vm.migration_id is not None or not vm.host_heard:
        return Decision(course=experiment.course)
    decision = _toward(experiment.spec, experiment.course, vm, Arm.AFTER)
    if not decision.ready:
        return decision
    ended = decision.course
    return Decision(course=replace(ended, state=_E.DONE, kept=True, why=ended.judgement.why if ended.judgement is not None else ""))


def _roll_back(experiment: Experiment, vm: Vm | None, at: float) -> Decision:
    spec, course = experiment.spec, experiment.course
    if vm is None or vm.desired.deleted:
        return _end(course)
    if serials_of(vm.desired) != course.serials:
        course = replace(course, serials=serials_of(vm.desired), phase=Phase.STEADY)
    tuning = tuning_of(vm.desired)
    theirs = tuning not in (spec.before, spec.change)
    if vm.migration_id is not None:
        return Decision(course=course)
    if at - course.stirred_at > PATIENCE_SECONDS:
        power = Power.RUNNING if course.phase is Phase.STOPPING else None
        back = None if theirs or tuning == spec.before else spec.before
        wish = Wish(tuning=back, power=power) if back is not None or power is not None else None
        return replace(_end(course, "what it shall have is asked for; its host has not confirmed it"), wish=wish)
    if course.phase is Phase.STOPPING or (spec.restart and course.arm is Arm.AFTER and vm.desired.power is Power.RUNNING):
        decision = _toward(spec, course, vm, Arm.BEFORE)
        return replace(decision, wish=replace(decision.wish, tuning=None)) if theirs and decision.wish is not None else decision
    if theirs:
        return _end(course, "its settings are left as somebody has changed them meanwhile")
    if tuning != spec.before:
        return Decision(course=replace(course, arm=Arm.BEFORE), wish=Wish(tuning=spec.before))
    observed = vm.observed
    in_force = observed is not None and max(observed.generation, observed.error_generation) >= vm.desired.generation
    return _end(course) if in_force else Decision(course=course)


def _end(course: ExperimentCourse, note: str = "") -> Decision:
    """:param note: what is unusual about the settings that the VM ends with."""
    if course.error is not None:
        state, why = _E.FAILED, course.error.detail
    elif course.judgement is not None and course.judgement.enough:
        state, why = _E.DONE, course.judgement.why
    else:
        state, why = _E.CANCELLED, "cancelled before there was a verdict"
    return Decision(course=replace(course, state=state, phase=Phase.STEADY, why=f"{why}; {note}" if note else why))


def _back(course: ExperimentCourse, code: str, detail: str) -> Decision:
    return Decision(course=replace(course, state=_E.ROLLING_BACK, ordered=False, error=Problem(code, detail), why=detail))


def _voided(course: ExperimentCourse) -> ExperimentCourse:
    """Without the trial that is under way."""
    return replace(course, ordered=False, voided=course.voided + 1) if course.ordered else course


def _told(course: ExperimentCourse) -> ExperimentCourse:
    """With the verb that is said to the VM now."""
    power, reboot, reset = course.serials
    return replace(course, serials=(power + 1, reboot, reset))


def _wait(course: ExperimentCourse, why: str) -> Decision:
    return Decision(course=replace(course, why=why))


_STEPS: Mapping[ExperimentState, Callable[[Experiment, Vm | None, float], Decision]] = {
    _E.MEASURING: _measure,
    _E.JUDGING: _judge,
    _E.KEEPING: _keep,
    _E.ROLLING_BACK: _roll_back,
}

_OPERATION: Mapping[ExperimentState, OperationState] = {
    _E.DONE: OperationState.DONE,
    _E.FAILED: OperationState.FAILED,
    _E.CANCELLED: OperationState.CANCELLED,
}
_STAGES: Mapping[ExperimentState, str] = {
    _E.JUDGING: "judging",
    _E.KEEPING: "putting the change in force",
    _E.ROLLING_BACK: "putting the old settings in force",
}


def progress_of_experiment(experiment: Experiment) -> Progress:
    """How far its operation is."""
    course = experiment.course
    if course.state in ENDED:
        return Progress(state=_OPERATION[course.state], progress=1.0, stage=course.why or course.state.value, error=course.error)
    done = 0.95 * min(1.0, len(course.runs) / runs_max(experiment.spec.rules)) if course.state is _E.MEASURING else 0.97
    return Progress(state=OperationState.RUNNING, progress=done, stage=_STAGES.get(course.state, course.why))
