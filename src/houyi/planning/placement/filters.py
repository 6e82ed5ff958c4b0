"""Filters: each says which hosts can take a VM at all. FILTERS is their list, in the order in which they are explained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from houyi.model.host import Host, HostState, effective_host
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU, Amounts
from houyi.model.vm import VmSpec

Mask = NDArray[np.bool_]

MEMORY_OVERHEAD_MIB = 64
"""What QEMU itself needs beside the guest's memory: measured 47 MiB of private memory beyond an 80 MiB guest under TCG; too little here overcommits hosts silently."""


def amounts(spec: VmSpec) -> dict[str, int]:
    """What a VM claims on its host."""
    return {VCPU: spec.vcpus, MEMORY_MIB: spec.memory_mib + MEMORY_OVERHEAD_MIB, DISK_GIB: spec.disk_gib}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What has to be placed."""

    asked: Amounts
    accelerator: str = ""
    """'kvm' or 'qemu' when it must be that one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the host must have."""
    firmware: str = "bios"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Hosts side by side: row i of every array is hosts[i]."""

    hosts: Sequence[Host]
    limits: Sequence[Amounts]
    """What may be claimed on each in all, overcommit included."""

    def limit(self, resource: str) -> NDArray[np.int64]:
        return np.array([limits.get(resource, 0) for limits in self.limits], dtype=np.int64)

    def claimed(self, resource: str) -> NDArray[np.int64]:
        return np.array([host.claimed.get(resource, 0) for host in self.hosts], dtype=np.int64)


def is_ready(fleet: Fleet, _request: Request) -> Mask:
    return np.array([effective_host(host) is HostState.READY for host in fleet.hosts], dtype=bool)


def has_room(fleet: Fleet, request: Request) -> Mask:
    fits = np.ones(len(fleet.hosts), dtype=bool)
    for resource, amount in request.asked.items():
        fits &= fleet.limit(resource) - fleet.claimed(resource) >= amount
    return fits


def is_large_enough(fleet: Fleet, request: Request) -> Mask:
    """One VM never gets more vCPUs than the host has CPUs: overcommit is between VMs, a VM that overcommits itself only loses."""
    return np.array([host.capacity.get(VCPU, 0) >= request.asked.get(VCPU, 0) for host in fleet.hosts], dtype=bool)


def has_accelerator(fleet: Fleet, request: Request) -> Mask:
    if not request.accelerator:
        return np.ones(len(fleet.hosts), dtype=bool)
    return np.array([host.facts is not None and host.facts.accelerator.accelerator == request.accelerator for host in fleet.hosts], dtype=bool)


def has_firmware(fleet: Fleet, request: Request) -> Mask:
    return np.array([host.facts is not None and request.firmware in host.facts.firmwares for host in fleet.hosts], dtype=bool)


def has_labels(fleet: Fleet, request: Request) -> Mask:
    return np.array([all(host.labels.get(k) == v for k, v in request.labels.items()) for host in fleet.hosts], dtype=bool)


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    keeps: Callable[[Fleet, Request], Mask]
    why_not: str


FILTERS: tuple[Filter, ...] = (
    Filter("state", is_ready, "not ready (unreachable, cordoned or joining)"),
    Filter("accelerator", has_accelerator, "another accelerator"),
    Filter("firmware", has_firmware, "firmware not installed"),
    Filter("labels", has_labels, "labels differ"),
    Filter("size", is_large_enough, "fewer CPUs than the VM has vCPUs"),
    Filter("room", has_room, "not enough left"),
)
