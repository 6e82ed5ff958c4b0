"""The fleet as arrays: made once a pass, told of each choice, so that thousands of VMs are placed on thousands of hosts without being made anew."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from houyi.model.host import Accelerator, Host, HostState, effective_host
from houyi.model.ids import HostId, PlacementGroupId, PoolId
from houyi.model.placement_group import FaultDomain, PlacementGroup
from houyi.model.resources import NOTHING, VCPU, Amounts
from houyi.model.vm import LOCAL
from houyi.planning.placement.groups import domain_of
from houyi.planning.placement.numa import at, nodes_of

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

Members = Mapping[PlacementGroupId, Mapping[HostId, int]]
"""How many VMs of a placement group are on which host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What has to be placed."""

    asked: Amounts
    accelerator: str = ""
    """'kvm' or 'qemu' when it must be that one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the host must have."""
    firmware: str = "bios"
    storage: str = LOCAL
    cpu_model: str = ""
    """A named CPU model that guests must be able to have there; empty: any."""
    cpu_features: tuple[str, ...] = ()
    """Features that the host's CPU must offer to guests."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    """Own settings of VM knobs, whose needs the host must meet."""
    pool_id: PoolId | None = None
    """The pool that the host must be in; None: any, or none."""
    group: PlacementGroup | None = None
    among: frozenset[HostId] | None = None
    """The only hosts that come into question; None: all do."""


class Fleet:
    """Hosts side by side: row i of every array is `hosts[i]`, in order of their ids, in whatever order they were given.

    What cannot change within a pass is found when it is first asked for, and kept. `take` is the only change.
    """

    def __init__(self, hosts: Sequence[Host], limits: Sequence[Amounts], members: Members | None = None) -> None:
        """:param limits: what may be claimed on each host in all, overcommit included; beside `hosts`. :raise ValueError: not of the same length."""
        rows = sorted(zip(hosts, limits, strict=True), key=lambda row: row[0].id)
        self.hosts: tuple[Host, ...] = tuple(host for host, _ in rows)
        self.rows: Mapping[HostId, int] = {host.id: row for row, host in enumerate(self.hosts)}
        self.size = len(self.hosts)
        self.taken = 0
        """Grows with every `take`: what was computed before it is about a fleet that is no more."""
        known = sorted({name for limit in limits for name in limit})
        self._limits: dict[str, Counts] = {name: np.array([limit.get(name, 0) for _, limit in rows], dtype=np.int64) for name in known}
        self._left: dict[str, Counts] = {
            name: limit - np.array([host.claimed.get(name, 0) for host in self.hosts], dtype=np.int64) for name, limit in self._limits.items()
        }
        self._none: Counts = np.zeros(self.size, dtype=np.int64)
        self.cpus: Counts = self._capacity(VCPU)
        self.nodes: tuple[int, ...] = tuple(sorted({node for host in self.hosts for node in nodes_of(host.capacity)}))
        """Numbers of NUMA nodes that any host has; empty where no host has more than one."""
        self.node_cpus: Mapping[int, Counts] = {node: self._capacity(at(VCPU, node)) for node in self.nodes}
        self.has_nodes: Mask = np.array([bool(nodes_of(host.capacity)) for host in self.hosts], dtype=bool)
        self._masks: dict[tuple[str, ...], Mask] = {}
        self._shares: dict[str, NDArray[np.float64]] = {}
        self._domains: dict[FaultDomain, Counts] = {}
        self._members: dict[PlacementGroupId, Counts] = {}
        self._given_members: Members = {} if members is None else members
        self.remembered: dict[object, object] = {}
        """For whoever chooses: what depends on no `take`."""

    def _capacity(self, resource: str) -> Counts:
        return np.array([host.capacity.get(resource, 0) for host in self.hosts], dtype=np.int64)

    def limit(self, resource: str) -> Counts:
        """What may be claimed of a class on each host in all."""
        return self._limits.get(resource, self._none)

    def left(self, resource: str) -> Counts:
        """What is not claimed; below zero on a host that has lost room. Not to be written to."""
        return self._left.get(resource, self._none)

    def share(self, resource: str) -> NDArray[np.float64]:
        """One unit of a class as a share of each host's limit; 0 where there is none."""
        found = self._shares.get(resource)
        if found is None:
            limit = self.limit(resource).astype(np.float64)
            found = self._shares[resource] = np.divide(1.0, limit, out=np.zeros_like(limit), where=limit > 0)
        return found

    def mask(self, key: tuple[str, ...], holds: Callable[[Host], bool]) -> Mask:
        """Of which hosts something holds that no `take` changes; asked of each host once a `key`."""
        found = self._masks.get(key)
        if found is None:
            found = self._masks[key] = np.array([holds(host) for host in self.hosts], dtype=bool)
        return found

    @property
    def ready(self) -> Mask:
        return self.mask(("ready",), lambda host: effective_host(host) is HostState.READY)

    @property
    def hardware(self) -> Mask:
        """Whether guests run by hardware there."""
        return self.mask(("hardware",), lambda host: host.facts is not None and host.facts.accelerator.accelerator is Accelerator.KVM)

    def domains(self, scope: FaultDomain) -> Counts:
        """The fault domain of each host as a number from 0; -1 where its label is missing."""
        found = self._domains.get(scope)
        if found is None:
            numbers: dict[str, int] = {}
            names = [domain_of(scope, host.id, host.labels) for host in self.hosts]
            found = self._domains[scope] = np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
        return found

    def members(self, group_id: PlacementGroupId) -> Counts:
        """How many VMs of a group are on each host."""
        found = self._members.get(group_id)
        if found is None:
            counts = self._given_members.get(group_id, {})
            found = self._members[group_id] = np.array([counts.get(host.id, 0) for host in self.hosts], dtype=np.int64)
        return found

    def members_in(self, group_id: PlacementGroupId, scope: FaultDomain) -> Counts:
        """How many VMs of a group are in the fault domain of each host; 0 where that is not known."""
        if scope is FaultDomain.HOST:
            return self.members(group_id)
        domains = self.domains(scope)
        known = domains >= 0
        sums = np.bincount(domains[known], weights=self.members(group_id)[known], minlength=1).astype(np.int64)
        return np.where(known, sums[domains], 0)

    def take(self, host_id: HostId, amounts: Amounts = NOTHING, group: PlacementGroup | None = None, *, members: int = 1) -> None:
        """Count in that a VM goes there, so that the next choice knows. :param members: of its group that come; -1: one leaves."""
        row = self.rows[host_id]
        for name, amount in amounts.items():
            if name in self._left:
                self._left[name][row] -= amount
        if group is not None:
            self.members(group.id)[row] += members
        self.taken += 1
