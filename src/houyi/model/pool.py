"""A pool: hosts among which any VM may move, since all of its VMs have the CPU that its hosts have in common.

Four records: the pool and who is in it (commands), what its hosts are asked and what came of it (the reconciler), what each host answered (intake).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import Problem
from houyi.model.ids import HostId, PoolId


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAsk:
    """What the agents of a pool are asked: the baseline of these CPUs."""

    pool_id: PoolId
    digest: str
    """Of what is asked: an answer to another question is no answer."""
    cpus: tuple[GuestCpu, ...]
    """Each once, however many hosts have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAnswer:
    """What one agent's libvirt says."""

    pool_id: PoolId
    digest: str
    baseline: CpuBaseline | None
    error: Problem | None = None
    """Why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    ask: PoolAsk | None = None
    """None: not known yet what to ask, see `trouble`."""
    baseline: CpuBaseline | None = None
    """The newest that was settled, and in force until there is a newer one."""
    settled: str = ""
    """The digest of the question that it answers."""
    trouble: str = ""
    """Why there is no baseline of the hosts as they are now; '' when there is, or when there is no host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    id: PoolId
    name: str
    status: PoolStatus = PoolStatus()
    hosts: Mapping[HostId, str] = field(default_factory=dict)
    """Who is in it: id to name."""
    created_at: float
    revision: int
