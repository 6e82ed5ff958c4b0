"""Experiments: each pass looks at every one that has not ended, has its next course decided (planning.tuning.course), and writes it.

The course, what is wished of the VM and the operation are in one transaction: after a crash of the server, what was wished is what is written. Whoever runs this,
however often, on however many servers: a course is only ever moved on from the one that was looked at.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.commands.experiment import drive_vm
from houyi.control.control import PLATFORM, Control, new_event
from houyi.model.errors import HouyiError, NotFound
from houyi.model.experiment import ENDED as ENDED_EXPERIMENTS
from houyi.model.experiment import Experiment, ExperimentState
from houyi.model.operation import ENDED
from houyi.model.vm import Power, Vm
from houyi.planning.placement.filters import amounts_of
from houyi.planning.tuning.course import Decision, decide, progress_of_experiment, wished
from houyi.store.claims import settle_claim
from houyi.store.courses import move_experiment
from houyi.store.journal import move_operation
from houyi.store.mutation import Mutation, touch
from houyi.store.views.experiment import open_experiments
from houyi.store.views.operation import get_operation
from houyi.store.views.vm import vms_by_id

log = get_log(__name__)

Decide = Callable[[Experiment, Vm | None, float], Decision]
"""`planning.tuning.course.decide`, or what a test puts in its place."""

STEPS_MAX = 8
"""Of one experiment in one pass: what follows at once is not made to wait for the next."""

_SAID: Mapping[ExperimentState, str] = {
    ExperimentState.DONE: "done",
    ExperimentState.FAILED: "failed",
    ExperimentState.CANCELLED: "cancelled",
}


async def try_settings(control: Control, decide: Decide = decide) -> None:
    """One pass. One that cannot be moved on now holds up no other."""
    for experiment in await control.store.read(open_experiments):
        try:
            await _move_on(control, experiment, decide)
        except HouyiError as refused:  # somebody else has written meanwhile, or the store is away: the next pass looks again
            log.info("experiment_not_moved_on", experiment=experiment.id, code=refused.code)


async def _move_on(control: Control, experiment: Experiment, decide: Decide) -> None:
    vm_id = experiment.vm_id
    for _ in range(STEPS_MAX):
        vm = (await control.store.read(lambda c: vms_by_id(c, [vm_id]))).get(vm_id)
        decision = decide(experiment, vm, control.clock.now())
        after = replace(experiment, course=decision.course)
        await _write(control, experiment, after, vm, decision)
        if decision.course == experiment.course or decision.wish is not None or decision.course.ordered or decision.course.state in ENDED_EXPERIMENTS:
            return
        experiment = after


async def _write(control: Control, experiment: Experiment, after: Experiment, vm: Vm | None, decision: Decision) -> None:
    """In one transaction: the course, the wish, the operation, the event; nothing when nothing has changed."""
    mutations = await _operation(control, after)
    course = after.course
    if course != experiment.course:
        mutations.append(move_experiment(experiment, course))
        if course.ordered is not experiment.course.ordered:
            mutations.append(touch("vm", experiment.vm_id, experiment.project_id))  # its host is told of the trial, or no longer
        if course.state in _SAID:
            detail = f"experiment {experiment.id} is {_SAID[course.state]}{', and the VM keeps the change' if course.kept else ''}: {course.why}"
            mutations.append(new_event(control, PLATFORM, "vm.experiment_end", experiment.vm_id, experiment.vm_name, detail, project_id=experiment.project_id))
    if decision.wish is not None and vm is not None:
        desired = wished(vm.desired, decision.wish)
        if decision.wish.power is Power.RUNNING:
            mutations.append(settle_claim(desired, amounts_of(desired)))
        await drive_vm(control, experiment, vm, desired, mutations)
    elif mutations:
        await control.store.apply(mutations)
    if course.state is not experiment.course.state:
        log.info("experiment", experiment=experiment.id, vm=experiment.vm_id, state=course.state.value, why=course.why)


async def _operation(control: Control, after: Experiment) -> list[Mutation]:
    try:
        operation = await control.store.read(lambda c: get_operation(c, after.operation_id, None))
    except NotFound:
        return []
    now = progress_of_experiment(after)
    moved = replace(
        operation,
        state=now.state,
        progress=max(operation.progress, now.progress),
        stage=now.stage,
        blocked_on=now.blocked_on,
        error=now.error,
        cancellable=after.course.state is ExperimentState.MEASURING,
        ended_at=control.clock.now() if now.state in ENDED else 0.0,
    )
    return [] if operation.state in ENDED or moved == operation else [move_operation(moved)]
