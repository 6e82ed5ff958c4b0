"""Scores: each rates the hosts that are left from 0 to 1. SCORES is their list with their weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from houyi.model.resources import MEMORY_MIB, VCPU
from houyi.planning.placement.filters import Fleet, Request

Rating = NDArray[np.float64]


def _free_after(fleet: Fleet, request: Request, resource: str) -> Rating:
    limit = fleet.limit(resource).astype(np.float64)
    free = limit - fleet.claimed(resource) - request.asked.get(resource, 0)
    rating: Rating = np.clip(np.divide(free, limit, out=np.zeros_like(limit), where=limit > 0), 0.0, 1.0)
    return rating


def free_memory(fleet: Fleet, request: Request) -> Rating:
    """The share of memory left after the VM: spreads."""
    return _free_after(fleet, request, MEMORY_MIB)


def free_vcpus(fleet: Fleet, request: Request) -> Rating:
    """The share of vCPUs left after the VM: spreads."""
    return _free_after(fleet, request, VCPU)


def hardware(fleet: Fleet, _request: Request) -> Rating:
    """A host that runs guests by hardware before one that emulates."""
    return np.array([1.0 if host.facts is not None and host.facts.accelerator.accelerator == "kvm" else 0.0 for host in fleet.hosts])


@dataclass(frozen=True, slots=True)
class Score:
    name: str
    weight: float
    rate: Callable[[Fleet, Request], Rating]


SCORES: tuple[Score, ...] = (
    Score("hardware", 4.0, hardware),
    Score("free_memory", 1.0, free_memory),
    Score("free_vcpus", 1.0, free_vcpus),
)
