"""What may be asked of experiments: to begin, and to stop; and what their workflow asks of the VM."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from houyi.control.control import PLATFORM, Context, Control, again, new_event, new_operation, remembered
from houyi.model.errors import Conflict
from houyi.model.experiment import ENDED, Experiment, ExperimentCourse, ExperimentSpec, ExperimentState, Tuning, Workload
from houyi.model.ids import ExperimentId, VmId
from houyi.model.operation import TUNE, Operation
from houyi.model.series import Rules
from houyi.model.vm import DesiredVm, EffectiveState, Vm, effective
from houyi.planning.spec import check_spec
from houyi.planning.tuning.course import serials_of, tuning_of
from houyi.planning.tuning.trying import blocks_of, check_workload, may_try
from houyi.store.journal import insert_operation
from houyi.store.mutation import Mutation
from houyi.store.rows.experiment import insert_experiment, update_experiment
from houyi.store.rows.vm import expect_vm, update_vm
from houyi.store.views.experiment import get_experiment, open_experiment_of
from houyi.store.views.host import get_host
from houyi.store.views.vm import get_vm


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentAsk:
    profile: str | None = None
    """None: the VM's own stays."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    """Beside those that the VM has."""
    workload: Workload
    runs: int
    """At most, with those to warm up."""
    main: str = ""
    keep: bool = False
    restart: bool = False
    settle_seconds: float = 5.0


async def try_tuning(control: Control, ctx: Context, reference: str, ask: ExperimentAsk) -> tuple[Experiment, Operation]:
    """Begin an experiment with a VM that runs.

    :raise Invalid: `workload_invalid`, `runs_invalid`, or what `planning.spec` says of the settings. :raise NotFound: `vm_not_found`.
    :raise Conflict: `vm_not_running`, `vm_migrating`, `vm_under_experiment`, or what `planning.tuning.trying` says: `nothing_to_try`, `restart_needed`, `knob_refused`.
    """
    check_workload(ask.workload, ask.settle_seconds)
    rules = Rules(blocks_max=blocks_of(ask.runs))

    async def attempt() -> tuple[Experiment, Operation]:
        vm = await control.store.read(lambda c: get_vm(c, reference, ctx.scope))
        await _check(control, vm)
        before = tuning_of(vm.desired)
        change = Tuning(profile=before.profile if ask.profile is None else ask.profile, knobs={**before.knobs, **ask.knobs})
        changed = replace(vm.desired.spec, profile=change.profile, knobs=dict(change.knobs))
        check_spec(changed)
        host = None if vm.host_id is None else await control.store.read(lambda c: get_host(c, vm.host_id or ""))
        may_try(vm.desired.spec, changed, None if host is None else host.facts, restart=ask.restart)
        operation = new_operation(control, ctx, TUNE, vm.desired.id, project_id=vm.desired.project_id, cancellable=True)
        now = control.clock.now()
        experiment = Experiment(
            id=ExperimentId(control.ids.new()),
            project_id=vm.desired.project_id,
            vm_id=vm.desired.id,
            vm_name=vm.desired.name,
            operation_id=operation.id,
            spec=ExperimentSpec(
                before=before,
                change=change,
                workload=ask.workload,
                rules=rules,
                main=ask.main,
                keep=ask.keep,
                restart=ask.restart,
                settle_seconds=ask.settle_seconds,
            ),
            course=ExperimentCourse(serials=serials_of(vm.desired), stirred_at=now),
            trial=None,
            created_at=now,
            revision=0,
        )
        detail = f"experiment {experiment.id} begins: {words_of_change(experiment.spec)}"
        mutations = [
            insert_operation(operation),
            insert_experiment(experiment),
            new_event(control, ctx, "vm.experiment", vm.desired.id, vm.desired.name, detail, project_id=vm.desired.project_id),
            *remembered(control, ctx, operation),
        ]
        revision = await control.store.apply(mutations, [expect_vm(vm.desired.id, vm.revision)])
        return replace(experiment, revision=revision), replace(operation, revision=revision)

    begun = await again(attempt)
    control.hints.poke("experiments")
    return begun


async def _check(control: Control, vm: Vm) -> None:
    name = vm.desired.name
    if vm.migration_id is not None:
        raise Conflict("vm_migrating", f"VM {name!r} is being moved to another host: wait for its end (`houyi migration list`)")
    if effective(vm) is not EffectiveState.RUNNING or vm.observed is None or vm.observed.generation < vm.desired.generation:
        raise Conflict(
            "vm_not_running", f"VM {name!r} is {effective(vm).value}, and an experiment needs one that runs: start it first", state=effective(vm).value
        )
    under = await control.store.read(lambda c: open_experiment_of(c, vm.desired.id))
    if under is not None:
        raise Conflict("vm_under_experiment", f"VM {name!r} is under experiment {under.id}: wait for its end, or cancel it (`houyi tune cancel {under.id}`)")


def words_of_change(spec: ExperimentSpec) -> str:
    """'profile latency, knobs x2apic=on' : what is other than before."""
    told = [f"profile {spec.change.profile or 'none'}"] if spec.change.profile != spec.before.profile else []
    told += [f"{name}={value}" for name, value in sorted(spec.change.knobs.items()) if spec.before.knobs.get(name) != value]
    return ", ".join(told)


async def drive_vm(control: Control, experiment: Experiment, vm: Vm, desired: DesiredVm, beside: Sequence[Mutation]) -> None:
    """What an experiment's workflow asks of its VM, in one transaction with `beside`. :raise Stale: `revision_mismatch`: somebody else has asked something meanwhile."""
    detail = f"by experiment {experiment.id}: {desired.power.value}, profile {desired.spec.profile or 'none'}, {_knobs(desired)}"
    event = new_event(control, PLATFORM, "vm.tuned", vm.desired.id, vm.desired.name, detail, project_id=vm.desired.project_id)
    await control.store.apply([update_vm(desired, vm.protected), event, *beside], [expect_vm(vm.desired.id, vm.revision)])
    control.hints.poke("placement")
    control.hints.poke("operations")


def _knobs(desired: DesiredVm) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(desired.spec.knobs.items())) or "no knobs of its own"


async def cancel_experiment(control: Control, ctx: Context, experiment_id: str) -> Experiment:
    """Measure no more; the VM gets back the settings that it had. Asked again: nothing.

    :raise Conflict: `experiment_ended`, `experiment_settled`: it is being ended already. :raise NotFound: `experiment_not_found`.
    """
    experiment = await control.store.read(lambda c: get_experiment(c, experiment_id, ctx.scope))
    cancelled = replace(experiment, spec=replace(experiment.spec, cancelled=True))
    return replace(cancelled, revision=await _cancel(control, ctx, experiment, remembered(control, ctx, cancelled)))


async def cancel_experiment_of(control: Control, ctx: Context, operation: Operation) -> Operation:
    """The same, by the operation. :raise Conflict: `operation_ended`: its experiment has ended meanwhile."""
    vm_id = VmId(operation.target_id)
    found = await control.store.read(lambda c: open_experiment_of(c, vm_id))
    if found is None or found.operation_id != operation.id:
        raise Conflict("operation_ended", "the experiment has ended meanwhile")
    await _cancel(control, ctx, found, remembered(control, ctx, operation))
    return operation


async def _cancel(control: Control, ctx: Context, experiment: Experiment, beside: Sequence[Mutation]) -> int:
    """:return: the experiment's revision."""
    state = experiment.course.state
    if state in ENDED:
        raise Conflict("experiment_ended", f"the experiment is {state.value} already")
    if experiment.spec.cancelled:
        return await control.store.apply(beside) if beside else experiment.revision
    if state is not ExperimentState.MEASURING:
        raise Conflict("experiment_settled", f"the experiment is {state.value.replace('_', ' ')} already: it ends in a moment")
    event = new_event(control, ctx, "vm.experiment_cancel", experiment.vm_id, experiment.vm_name, "cancellation asked", project_id=experiment.project_id)
    revision = await control.store.apply([update_experiment(experiment, replace(experiment.spec, cancelled=True)), event, *beside])
    control.hints.poke("experiments")
    return revision
