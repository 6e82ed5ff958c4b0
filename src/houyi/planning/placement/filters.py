"""Filters: each says which hosts can take a VM at all. FILTERS is their list, in the order in which they are asked and explained."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from houyi.model.host import Host, effective_host
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU
from houyi.model.vm import LOCAL, DesiredVm, VmSpec
from houyi.planning.placement.fleet import Fleet, Mask, Request
from houyi.planning.placement.numa import BY_NODE, at, largest_part, on_nodes
from houyi.planning.tuning.knobs import BY_NAME
from houyi.planning.tuning.resolve import lacks

MEMORY_OVERHEAD_MIB = 64
"""What QEMU itself needs beside the guest's memory: measured 47 MiB of private memory beyond an 80 MiB guest under TCG; too little here overcommits hosts silently."""


def amounts(spec: VmSpec) -> dict[str, int]:
    """What a VM claims on its host; a disk in a shared folder takes nothing of the host's own."""
    asked = {VCPU: spec.vcpus, MEMORY_MIB: spec.memory_mib + MEMORY_OVERHEAD_MIB}
    return {**asked, DISK_GIB: spec.disk_gib} if spec.storage == LOCAL else asked


def amounts_of(vm: DesiredVm) -> dict[str, int]:
    """The same where it has been fitted to nodes of its host."""
    return on_nodes(amounts(vm.spec), vm.numa_nodes)


def is_ready(fleet: Fleet, _request: Request) -> Mask:
    return fleet.ready


def is_candidate(fleet: Fleet, request: Request) -> Mask:
    """The others are still part of the fleet: VMs of a group count wherever they are."""
    among = request.among
    return np.array([among is None or host.id in among for host in fleet.hosts], dtype=bool)


def has_accelerator(fleet: Fleet, request: Request) -> Mask:
    wanted = request.accelerator
    return fleet.mask(("accelerator", wanted), lambda host: not wanted or (host.facts is not None and host.facts.accelerator.accelerator.value == wanted))


def has_firmware(fleet: Fleet, request: Request) -> Mask:
    return fleet.mask(("firmware", request.firmware), lambda host: host.facts is not None and request.firmware in host.facts.firmwares)


def has_labels(fleet: Fleet, request: Request) -> Mask:
    wanted = sorted(request.labels.items())
    return fleet.mask(("labels", *(f"{key}={value}" for key, value in wanted)), lambda host: all(host.labels.get(key) == value for key, value in wanted))


def has_storage(fleet: Fleet, request: Request) -> Mask:
    name = request.storage
    return fleet.mask(("storage", name), lambda host: name == LOCAL or (host.facts is not None and name in host.facts.storages))


def is_in_pool(fleet: Fleet, request: Request) -> Mask:
    pool_id = request.pool_id
    return fleet.mask(("pool", pool_id or ""), lambda host: pool_id is None or host.pool_id == pool_id)


def has_cpu(fleet: Fleet, request: Request) -> Mask:
    return fleet.mask(("cpu", request.cpu_model, *request.cpu_features), lambda host: not _cpu_lacks(host, request))


def _cpu_lacks(host: Host, request: Request) -> str:
    """The model or the features that guests cannot have there. A host that does not say what it offers is believed to: libvirt checks it again at the start."""
    facts = host.facts
    if facts is None:
        return "everything"
    if request.cpu_model and facts.cpu_models and request.cpu_model not in facts.cpu_models:
        return f"CPU model {request.cpu_model}"
    lacking = [feature for feature in request.cpu_features if facts.cpu_features and feature not in facts.cpu_features]
    return f"CPU feature{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}" if lacking else ""


def has_knobs(fleet: Fleet, request: Request) -> Mask:
    asked = sorted(request.knobs.items())
    return fleet.mask(("knobs", *(f"{name}={value}" for name, value in asked)), lambda host: not _knob_lacks(host, request))


def _knob_lacks(host: Host, request: Request) -> str:
    """Why the first of the VM's own settings cannot be had there; what comes from a profile gives way instead."""
    if host.facts is None:
        return "" if not request.knobs else "it has not said what it can do"
    for name, value in sorted(request.knobs.items()):
        if name in BY_NAME and (why := lacks(host.facts, name, value)):
            return f"{name}={value}: {why}"
    return ""


def is_large_enough(fleet: Fleet, request: Request) -> Mask:
    """One VM never gets more vCPUs than the host has CPUs: overcommit is between VMs, a VM that overcommits itself only loses."""
    mask: Mask = fleet.cpus >= request.asked.get(VCPU, 0)
    return mask


def has_room(fleet: Fleet, request: Request) -> Mask:
    fits = np.ones(fleet.size, dtype=bool)
    for resource, amount in request.asked.items():
        fits &= fleet.left(resource) >= amount
    return fits


def fits_nodes(fleet: Fleet, request: Request) -> Mask:
    """On hosts with NUMA nodes: some number of nodes take even parts of it (the same rule as `numa.fitted`, for all hosts at once)."""
    fits = ~fleet.has_nodes
    for parts in range(1, len(fleet.nodes) + 1):
        vcpus = largest_part(request.asked.get(VCPU, 0), parts)
        takers = np.zeros(fleet.size, dtype=np.int64)
        for node in fleet.nodes:
            takes = (fleet.node_cpus[node] > 0) & (fleet.node_cpus[node] >= vcpus)
            for resource in BY_NODE:
                takes = takes & (fleet.left(at(resource, node)) >= largest_part(request.asked.get(resource, 0), parts))
            takers += takes
        fits = fits | (takers >= parts)
    return fits


def keeps_group(fleet: Fleet, request: Request) -> Mask:
    """Hard rules only; a soft one is a score."""
    group = request.group
    if group is None or group.spec.strength is not GroupStrength.HARD:
        return np.ones(fleet.size, dtype=bool)
    there = fleet.members_in(group.id, group.spec.scope) > 0
    keeps: Mask = fleet.domains(group.spec.scope) >= 0
    if group.spec.policy is GroupPolicy.ANTI_AFFINITY:
        keeps = keeps & ~there
    elif fleet.members(group.id).any():
        keeps = keeps & there
    return keeps


def _why_state(fleet: Fleet, _request: Request, row: int) -> str:
    return effective_host(fleet.hosts[row]).value


def _why_accelerator(fleet: Fleet, request: Request, row: int) -> str:
    facts = fleet.hosts[row].facts
    return f"{request.accelerator} is asked for, it has {facts.accelerator.accelerator.value if facts else 'none'}"


def _why_labels(fleet: Fleet, request: Request, row: int) -> str:
    has = fleet.hosts[row].labels
    wrong = [
        f"{key} is {has[key]!r}, not {value!r}" if key in has else f"no label {key!r}" for key, value in sorted(request.labels.items()) if has.get(key) != value
    ]
    return ", ".join(wrong)


def _why_pool(fleet: Fleet, _request: Request, row: int) -> str:
    name = fleet.hosts[row].pool_name
    return f"it is in pool {name!r}, not in the one asked for" if name else "it is in no pool"


def _why_size(fleet: Fleet, request: Request, row: int) -> str:
    return f"{fleet.cpus[row]} CPUs for {request.asked.get(VCPU, 0)} vCPUs"


def _why_room(fleet: Fleet, request: Request, row: int) -> str:
    short = [(name, amount, int(fleet.left(name)[row])) for name, amount in request.asked.items() if fleet.left(name)[row] < amount]
    return ", ".join(f"{name}: asked {amount}, left {max(0, left)}" for name, amount, left in short)


def _why_nodes(fleet: Fleet, _request: Request, row: int) -> str:
    left = [
        f"node {node}: vcpu {max(0, fleet.left(at(VCPU, node))[row])}, memory_mib {max(0, fleet.left(at(MEMORY_MIB, node))[row])}"
        for node in fleet.nodes
        if fleet.node_cpus[node][row]
    ]
    return "left on " + "; ".join(left)


def _why_group(fleet: Fleet, request: Request, row: int) -> str:
    group = request.group
    if group is None:
        return ""
    scope = group.spec.scope
    if fleet.domains(scope)[row] < 0:
        return f"the host has no label {scope.value!r}"
    what = "this host" if scope is FaultDomain.HOST else f"its {scope.value} {fleet.hosts[row].labels[scope.value]!r}"
    if group.spec.policy is GroupPolicy.ANTI_AFFINITY:
        return f"{fleet.members_in(group.id, scope)[row]} of group {group.name!r} on {what}"
    return f"none of group {group.name!r} on {what}, but elsewhere"


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    keeps: Callable[[Fleet, Request], Mask]
    why_not: str
    """Of many hosts at once."""
    why: Callable[[Fleet, Request, int], str]
    """Of the host of one row, in particular."""
    fixed: bool = True
    """Whether no choice of the same pass changes it. Fixed ones come first and are asked once for all equal requests."""


FILTERS: tuple[Filter, ...] = (
    Filter("state", is_ready, "not ready (unreachable, cordoned or joining)", _why_state),
    Filter("candidate", is_candidate, "does not come into question", lambda *_: "it does not come into question"),
    Filter("accelerator", has_accelerator, "another accelerator", _why_accelerator),
    Filter("firmware", has_firmware, "firmware not installed", lambda _fleet, request, _row: f"{request.firmware} is not installed"),
    Filter("labels", has_labels, "labels differ", _why_labels),
    Filter("pool", is_in_pool, "not in the pool", _why_pool),
    Filter("storage", has_storage, "the shared folder is not there", lambda _fleet, request, _row: f"shared folder {request.storage!r} is not there"),
    Filter("cpu", has_cpu, "the CPU cannot be had there", lambda fleet, request, row: f"guests cannot have {_cpu_lacks(fleet.hosts[row], request)}"),
    Filter("knobs", has_knobs, "a knob of the VM cannot be had there", lambda fleet, request, row: _knob_lacks(fleet.hosts[row], request)),
    Filter("size", is_large_enough, "fewer CPUs than the VM has vCPUs", _why_size),
    Filter("room", has_room, "not enough left", _why_room, fixed=False),
    Filter("numa", fits_nodes, "not enough left on its NUMA nodes", _why_nodes, fixed=False),
    Filter("group", keeps_group, "the placement group's rule forbids it", _why_group, fixed=False),
)
