"""What may be asked of VMs once they exist: power verbs, changes, deletion. Their creation is in vm_create.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from houyi.control.control import Context, Control, again, new_event, new_operation, remembered
from houyi.control.placements import host_limits
from houyi.model.errors import Conflict, Invalid, Stale
from houyi.model.host import Host
from houyi.model.names import check_name
from houyi.model.operation import Operation
from houyi.model.vm import DesiredVm, EffectiveState, Firmware, MigrationPolicy, Power, Remedy, RestartPolicy, StopMode, Trouble, Vm, effective
from houyi.planning.placement.filters import amounts, amounts_of
from houyi.planning.spec import check_spec
from houyi.planning.tuning.resolve import refused, vm_settings
from houyi.planning.verbs import Verb, Verdict, may
from houyi.store.claims import grow_claim, settle_claim
from houyi.store.journal import insert_operation
from houyi.store.mutation import Mutation
from houyi.store.rows.vm import expect_vm, update_vm
from houyi.store.views.host import get_host
from houyi.store.views.vm import get_vm

Change = Callable[[DesiredVm], DesiredVm]


async def start_vm(control: Control, ctx: Context, reference: str) -> Operation:
    """:raise NotFound: `vm_not_found`. :raise Conflict: the verb is refused in this state (planning.verbs)."""
    return await _say(control, ctx, reference, Verb.START, lambda vm: _power(vm, Power.RUNNING))


async def stop_vm(control: Control, ctx: Context, reference: str, *, mode: StopMode = StopMode.GRACEFUL, grace_seconds: int = 60) -> Operation:
    """:param grace_seconds: 0..3600, how long the guest may take before it is powered off. :raise Invalid: `grace_invalid`."""
    if not 0 <= grace_seconds <= 3600:
        raise Invalid("grace_invalid", "grace_seconds must be between 0 and 3600")
    verb = Verb.STOP if mode is StopMode.GRACEFUL else Verb.FORCE_STOP

    def change(vm: DesiredVm) -> DesiredVm:
        return replace(_power(vm, Power.STOPPED), stop_mode=mode, grace_seconds=grace_seconds)

    return await _say(control, ctx, reference, verb, change)


async def pause_vm(control: Control, ctx: Context, reference: str) -> Operation:
    return await _say(control, ctx, reference, Verb.PAUSE, lambda vm: _power(vm, Power.PAUSED))


async def resume_vm(control: Control, ctx: Context, reference: str) -> Operation:
    return await _say(control, ctx, reference, Verb.RESUME, lambda vm: _power(vm, Power.RUNNING))


async def reboot_vm(control: Control, ctx: Context, reference: str) -> Operation:
    """Ask the guest to reboot."""
    return await _say(control, ctx, reference, Verb.REBOOT, lambda vm: replace(vm, reboot_serial=vm.reboot_serial + 1))


async def reset_vm(control: Control, ctx: Context, reference: str) -> Operation:
    """Press the reset button."""
    return await _say(control, ctx, reference, Verb.RESET, lambda vm: replace(vm, reset_serial=vm.reset_serial + 1))


async def delete_vm(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> Operation:
    """Power off and remove with its disk. :raise Conflict: `vm_protected`. :raise Stale: `revision_mismatch`: not at `expected`."""

    async def attempt() -> Operation:
        vm = await control.store.read(lambda c: get_vm(c, reference, ctx.scope))
        _expect(vm, expected)
        if vm.protected and not vm.desired.deleted:
            raise Conflict("vm_protected", f"VM {vm.desired.name!r} is protected from deletion: `houyi vm unprotect {vm.desired.name}` first")
        answer = may(Verb.DELETE, vm)
        if answer.verdict is Verdict.REFUSE:
            raise Conflict(answer.code, f"cannot delete VM {vm.desired.name!r}: {answer.detail}")
        already = answer.verdict is Verdict.ALREADY
        desired = replace(vm.desired, deleted=True, generation=vm.desired.generation + 1)
        operation = new_operation(control, ctx, "vm.delete", vm.desired.id, project_id=vm.desired.project_id, generation=desired.generation)
        mutations = [insert_operation(operation), *remembered(control, ctx, operation)]
        if not already:
            mutations += [update_vm(desired, vm.protected), _event(control, ctx, "vm.delete", vm, "deletion asked")]
        revision = await control.store.apply(mutations, [expect_vm(vm.desired.id, vm.revision)])
        return replace(operation, revision=revision)

    operation = await again(attempt, codes=() if expected is not None else ("revision_mismatch",))
    control.hints.poke("placement")
    control.hints.poke("operations")
    return operation


@dataclass(frozen=True, slots=True, kw_only=True)
class VmChanges:
    """What to change; None leaves a value as it is."""

    name: str | None = None
    protected: bool | None = None
    labels: Mapping[str, str] | None = None
    restart_policy: RestartPolicy | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    user_data: str | None = None
    firmware: Firmware | None = None
    video: bool | None = None
    cpu_model: str | None = None
    migration_policy: MigrationPolicy | None = None
    downtime_ms_max: int | None = None
    postcopy: bool | None = None
    profile: str | None = None
    """'': none of its own."""
    on_trouble: Mapping[Trouble, Remedy] | None = None
    """All that is asked about troubles."""
    knobs: Mapping[str, str] | None = None
    """All of its own settings."""


async def update_vm_desired(control: Control, ctx: Context, reference: str, changes: VmChanges, *, expected: int | None = None) -> Vm:
    """Change a VM. Hardware changes take effect at its next start; name, labels, protection, restart policy and live knobs at once.

    :raise Stale: `revision_mismatch`. :raise NoCapacity: its host has no room for the new size.
    :raise Conflict: `name_taken`, `vm_deleting`, `vm_migrating`, `knob_unavailable`: its host cannot have a setting that was asked.
    """

    async def attempt() -> Vm:
        vm = await control.store.read(lambda c: get_vm(c, reference, ctx.scope))
        _expect(vm, expected)
        answer = may(Verb.UPDATE, vm)
        if answer.verdict is Verdict.REFUSE:
            raise Conflict(answer.code, answer.detail)
        desired = _changed(vm.desired, changes)
        protected = vm.protected if changes.protected is None else changes.protected
        mutations: list[Mutation] = [update_vm(desired, protected), _event(control, ctx, "vm.update", vm, "changed")]
        sized = amounts(desired.spec) != amounts(vm.desired.spec)
        if vm.host_id is not None and (sized or desired.spec.knobs != vm.desired.spec.knobs):
            host_id = vm.host_id
            host = await control.store.read(lambda c: get_host(c, host_id))
            _check_knobs(desired, host)
            if sized:
                mutations.append(grow_claim(desired, host.id, amounts_of(desired), host_limits(host, control.settings.server)))
        revision = await control.store.apply(mutations, [expect_vm(vm.desired.id, vm.revision)])
        return replace(vm, desired=desired, protected=protected, revision=revision)

    return await again(attempt, codes=() if expected is not None else ("revision_mismatch",))


_SPEC = (
    *("labels", "restart_policy", "vcpus", "memory_mib", "user_data", "firmware", "video", "cpu_model"),
    *("migration_policy", "downtime_ms_max", "postcopy", "profile", "on_trouble", "knobs"),
)
"""What of a VM's spec may change."""


def _check_knobs(desired: DesiredVm, host: Host) -> None:
    """What is asked must be possible where the VM is. :raise Conflict: `knob_unavailable`."""
    found = refused(vm_settings(desired.spec, host.facts, host.tuning.profile))
    if found is not None:
        raise Conflict(
            "knob_unavailable", f"VM {desired.name!r} is on host {host.name}, where {found.knob}={found.value} cannot be had: {found.why_not}", knob=found.knob
        )


def _changed(desired: DesiredVm, changes: VmChanges) -> DesiredVm:
    spec_values = {name: getattr(changes, name) for name in _SPEC if getattr(changes, name) is not None}
    spec = replace(desired.spec, **spec_values)
    check_spec(spec)
    name = desired.name if changes.name is None else check_name(changes.name)
    if spec == desired.spec and name == desired.name:
        return desired
    return replace(desired, name=name, spec=spec, generation=desired.generation + 1)


async def _say(control: Control, ctx: Context, reference: str, verb: Verb, change: Change) -> Operation:
    async def attempt() -> Operation:
        vm = await control.store.read(lambda c: get_vm(c, reference, ctx.scope))
        answer = may(verb, vm)
        if answer.verdict is Verdict.REFUSE:
            raise Conflict(answer.code, f"cannot {verb.value.replace('_', ' ')} VM {vm.desired.name!r}: {answer.detail}", state=effective(vm).value)
        name = f"vm.{verb.value}"
        if answer.verdict is Verdict.ALREADY and not _fell(vm):
            waits = vm.observed is None or vm.observed.generation < vm.desired.generation
            operation = new_operation(control, ctx, name, vm.desired.id, project_id=vm.desired.project_id, generation=vm.desired.generation, done=not waits)
            revision = await control.store.apply([insert_operation(operation), *remembered(control, ctx, operation)])
            return replace(operation, revision=revision)
        desired = replace(change(vm.desired), generation=vm.desired.generation + 1)
        operation = new_operation(control, ctx, name, vm.desired.id, project_id=vm.desired.project_id, generation=desired.generation)
        mutations = [
            update_vm(desired, vm.protected),
            insert_operation(operation),
            _event(control, ctx, name, vm, f"{verb.value.replace('_', ' ')} asked"),
            *remembered(control, ctx, operation),
        ]
        if verb is Verb.START and effective(vm) is EffectiveState.STOPPED:
            mutations.append(settle_claim(desired, amounts_of(desired)))
        revision = await control.store.apply(mutations, [expect_vm(vm.desired.id, vm.revision)])
        return replace(operation, revision=revision)

    operation = await again(attempt)
    control.hints.poke("placement")
    control.hints.poke("operations")
    return operation


def _fell(vm: Vm) -> bool:
    """It failed at the present generation: saying the verb again is a wish to try again, never 'already so'."""
    return effective(vm) is EffectiveState.ERROR


def _power(vm: DesiredVm, power: Power) -> DesiredVm:
    return replace(vm, power=power, power_serial=vm.power_serial + 1)


def _expect(vm: Vm, expected: int | None) -> None:
    if expected is not None and vm.revision != expected:
        raise Stale("revision_mismatch", "the VM was changed meanwhile: read it again and repeat the request", revision=vm.revision)


def _event(control: Control, ctx: Context, kind: str, vm: Vm, detail: str) -> Mutation:
    return new_event(control, ctx, kind, vm.desired.id, vm.desired.name, detail, project_id=vm.desired.project_id)
