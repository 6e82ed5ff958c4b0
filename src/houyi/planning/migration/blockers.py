"""What stands against a move at all, whoever asks: all reasons at once, so that nobody mends one to meet the next. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence

from houyi.model.errors import Problem
from houyi.model.host import Accelerator, Host, HostFacts, HostState, effective_host
from houyi.model.migration import MigrationKind
from houyi.model.vm import LOCAL, EffectiveState, MigrationPolicy, Vm, effective
from houyi.planning.tuning.knobs import BY_NAME
from houyi.planning.tuning.resolve import lacks

FEATURES_TOLD = 8
"""Of those that a host lacks: two CPUs of different makes differ in dozens."""
TCG_QEMU_MIN = 9
"""Earlier QEMUs lose dirty bits under TCG: the moved guest's memory is corrupted, and the move is reported as a success."""

_LIVE = frozenset({EffectiveState.RUNNING, EffectiveState.PAUSED})
_COLD = frozenset({EffectiveState.STOPPED, EffectiveState.CRASHED, EffectiveState.ERROR})


def kind_of(vm: Vm) -> MigrationKind | None:
    """How it would move now; None: in this state it cannot."""
    state = effective(vm)
    return MigrationKind.LIVE if state in _LIVE else MigrationKind.COLD if state in _COLD else None


def blockers(vm: Vm, source: Host | None, destination: Host | None) -> tuple[Problem, ...]:
    """:param source: where it is; None: nowhere yet. :param destination: None: not chosen yet, so nothing is said of it."""
    return (*_of_vm(vm), *_of_source(vm, source), *(_of_destination(vm, source, destination) if destination is not None else ()))


def _of_vm(vm: Vm) -> Iterator[Problem]:
    if vm.migration_id is not None:
        yield Problem("vm_migrating", f"the VM is on a move already: `houyi migration show {vm.migration_id}`")
    state = effective(vm)
    if state is EffectiveState.UNKNOWN:
        yield Problem("host_unreachable", "the VM's host is not heard of: it is unknown whether the VM runs")
    elif kind_of(vm) is None:
        yield Problem("vm_busy", f"the VM is {state.value}: wait until it runs or is stopped")
    if kind_of(vm) is MigrationKind.LIVE and vm.desired.spec.migration_policy is MigrationPolicy.NEVER:
        yield Problem("migration_forbidden", "the VM's migration policy is 'never': stop it first, or change the policy")


def _of_source(vm: Vm, source: Host | None) -> Iterator[Problem]:
    if source is None or source.facts is None or kind_of(vm) is not MigrationKind.LIVE:
        return
    tcg = vm.observed is not None and vm.observed.accelerator == Accelerator.QEMU.value
    found = re.match(r"\d+", source.facts.qemu_version)
    if tcg and (found is None or int(found[0]) < TCG_QEMU_MIN):
        yield Problem(
            "source_corrupts_memory",
            f"host {source.name} emulates with QEMU {source.facts.qemu_version}, which corrupts a guest's memory in a live move: "
            f"upgrade it to QEMU {TCG_QEMU_MIN} or later, or stop the VM and move it then",
        )


def _of_destination(vm: Vm, source: Host | None, destination: Host) -> Iterator[Problem]:
    if source is not None and source.id == destination.id:
        yield Problem("same_host", f"the VM is on host {destination.name} already")
    state = effective_host(destination)
    if state is not HostState.READY:
        yield Problem("host_not_ready", f"host {destination.name} is {state.value}")
    name = vm.desired.spec.storage
    if name != LOCAL and source is not None and source.facts is not None and destination.facts is not None:
        there = destination.facts.storages.get(name)
        if there is None or there != source.facts.storages.get(name):
            yield Problem("storage_differs", f"host {destination.name} does not see the same shared folder {name!r} as host {source.name}")
    if kind_of(vm) is MigrationKind.LIVE and vm.observed is not None and destination.facts is not None:
        has = destination.facts.accelerator.accelerator.value
        if vm.observed.accelerator and vm.observed.accelerator != has:
            yield Problem(
                "accelerator_differs", f"the VM runs on {vm.observed.accelerator}, host {destination.name} on {has}: a running guest cannot change it"
            )
        if lacking := _lacking(vm.observed.cpu_features, destination.facts.cpu_features):
            what = f"{', '.join(lacking[:FEATURES_TOLD])}{f' and {len(lacking) - FEATURES_TOLD} more' if len(lacking) > FEATURES_TOLD else ''}"
            yield Problem(
                "cpu_incompatible",
                f"the VM runs with CPU features that host {destination.name} does not have ({what}): move it to another host, or stop it and move it then",
            )
        for why in _lacking_knobs(vm.observed.tuned, destination.facts):
            yield Problem("tuning_incompatible", f"the VM runs with {why} (host {destination.name}): move it to another host, or stop it and move it then")


def _lacking_knobs(tuned: Mapping[str, str], facts: HostFacts) -> Iterator[str]:
    """Settings that the guest runs with and could not have there."""
    for name, value in sorted(tuned.items()):
        if name in BY_NAME and (why := lacks(facts, name, value)):
            yield f"{name}={value}, but {why}"


def _lacking(runs_with: Sequence[str], offered: Sequence[str]) -> list[str]:
    """Where either is not known libvirt says it, when the move is prepared."""
    return sorted(set(runs_with) - set(offered)) if offered else []
