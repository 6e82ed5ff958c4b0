"""Scores: each rates the hosts that are left from 0 to 1. SCORES is their list with their weights.

The weights are an order of what matters: hardware (emulation is many times slower) before a group's wish, that before other fault domains, that before an even load.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength
from houyi.model.resources import MEMORY_MIB, VCPU
from houyi.planning.placement.fleet import Fleet, Request

Rating = NDArray[np.float64]


def _free_after(fleet: Fleet, request: Request, resource: str) -> Rating:
    rating: Rating = (fleet.left(resource) - request.asked.get(resource, 0)) * fleet.share(resource)
    return np.clip(rating, 0.0, 1.0, out=rating)


def free_memory(fleet: Fleet, request: Request) -> Rating:
    """The share of memory left after the VM: spreads."""
    return _free_after(fleet, request, MEMORY_MIB)


def free_vcpus(fleet: Fleet, request: Request) -> Rating:
    """The share of vCPUs left after the VM: spreads."""
    return _free_after(fleet, request, VCPU)


def packing(fleet: Fleet, request: Request) -> Rating:
    """The share that is claimed after the VM of whatever is scarcest there: keeps whole hosts empty."""
    rating: Rating = 1.0 - np.minimum(_free_after(fleet, request, MEMORY_MIB), _free_after(fleet, request, VCPU))
    return rating


def hardware(fleet: Fleet, _request: Request) -> Rating:
    """A host that runs guests by hardware before one that emulates."""
    return fleet.hardware.astype(np.float64)


def group(fleet: Fleet, request: Request) -> Rating:
    """A soft group: the share of its VMs that are in this fault domain, or that are not."""
    wish = request.group
    if wish is None or wish.spec.strength is not GroupStrength.SOFT:
        return np.zeros(fleet.size)
    near = _nearness(fleet, request, wish.spec.scope)
    known = fleet.domains(wish.spec.scope) >= 0
    return np.where(known, near if wish.spec.policy is GroupPolicy.AFFINITY else 1.0 - near, 0.0)


def fault_domains(fleet: Fleet, request: Request) -> Rating:
    """VMs that shall be apart are better in another rack than only on another host, and best in another zone."""
    wish = request.group
    if wish is None or wish.spec.policy is not GroupPolicy.ANTI_AFFINITY:
        return np.zeros(fleet.size)
    wider = list(FaultDomain)[list(FaultDomain).index(wish.spec.scope) + 1 :]
    rating = np.zeros(fleet.size)
    for scope in wider:
        rating += np.where(fleet.domains(scope) >= 0, 1.0 - _nearness(fleet, request, scope), 0.0)
    return rating / max(1, len(wider))


def _nearness(fleet: Fleet, request: Request, scope: FaultDomain) -> Rating:
    """The share of the group's VMs that are in the fault domain of each host; 0 while it has none."""
    if request.group is None:
        return np.zeros(fleet.size)
    rating: Rating = fleet.members_in(request.group.id, scope) / max(1, int(fleet.members(request.group.id).sum()))
    return rating


@dataclass(frozen=True, slots=True)
class Score:
    name: str
    weight: float
    """As it is unless a setting says otherwise."""
    rate: Callable[[Fleet, Request], Rating]
    of_group: bool = False
    """Whether it is 0 for a VM without a group."""


SCORES: tuple[Score, ...] = (
    Score("hardware", 8.0, hardware),
    Score("group", 4.0, group, of_group=True),
    Score("fault_domains", 2.5, fault_domains, of_group=True),
    Score("free_memory", 1.0, free_memory),
    Score("free_vcpus", 1.0, free_vcpus),
    Score("packing", 0.0, packing),
)
