"""A physical machine that runs VMs: who it is, what it can do (found by trying), and whether it is heard of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.cpu import GuestCpu
from houyi.model.ids import HostId, OperationId, PoolId
from houyi.model.resources import Amounts
from houyi.model.tuning import HostTuned, TuningAsk

HOST_URI = "spiffe://houyi/host/"
"""Before a host's id, the name of the host in its certificate: written by the CA, read by both ends of the link."""


SERVER_URI = "spiffe://houyi/server"
"""The platform's own name in the certificate of the agents' listener: hosts have certificates that are good for servers too, and must not pass for it."""


CLOCK_SKEW_SECONDS_MAX = 1.0
"""A host's clock that is further from the server's is warned of: certificates are judged by it, and what hosts tell of when things happened cannot be put in order."""


def move_name(host_id: HostId) -> str:
    """The DNS name in the certificate that QEMU shows in moves to and from this host."""
    return f"{host_id}.hosts.houyi"


class HostState(StrEnum):
    """What people see; computed from the administrator's wish and the lease."""

    JOINING = "joining"
    """It has a certificate but has not reported yet."""
    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    """Its VMs are being moved away."""
    MAINTENANCE = "maintenance"
    """Drained: nothing is claimed on it any more."""
    UNREACHABLE = "unreachable"


class Accelerator(StrEnum):
    KVM = "kvm"
    QEMU = "qemu"
    """TCG: software emulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorProbe:
    """What came out of running guest code under /dev/kvm in a child process (host/probe/kvm.py)."""

    accelerator: Accelerator
    verdict: str
    """'native' | 'slow' | 'emulated' | 'broken' | 'hang' | 'absent' | 'denied' | 'forced' (by a setting)."""
    reason: str
    """One sentence for people: why this accelerator."""
    exit_ns: Mapping[str, int] = field(default_factory=dict)
    """ns per VM exit by kind ('cpuid' in the kernel, 'out' and 'mmio' in user space, 'page_fault' on fresh memory); empty where KVM does not run."""
    loop_ns: float = 0.0
    capabilities: Mapping[str, int] = field(default_factory=dict)
    """What KVM says that it can, by name (kvm_trial.py); 0: no. Empty where it does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """A part of the machine whose CPUs reach its memory fastest."""

    number: int
    cpus: tuple[int, ...]
    """Numbers of its logical CPUs, ascending; empty: a node of memory only."""
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the machine is. Slow to change; measured at the agent's start and when asked."""

    hostname: str
    boot_id: str
    agent_version: str
    qemu_version: str
    libvirt_version: str
    kernel: str
    cpu_model: str
    cpus: int
    memory_mib: int
    disk_gib: int
    numa_nodes: int
    hugepages: Mapping[str, int] = field(default_factory=dict)
    """Page size ('2048' KiB) -> pages."""
    accelerator: AcceleratorProbe
    cpu_features: tuple[str, ...] = ()
    """All that guests can have here, the features of the model among them; empty: not known."""
    guest_cpu: GuestCpu | None = None
    """The most that guests can have here, as libvirt describes it for the accelerator in use."""
    machine_types: tuple[str, ...] = ()
    firmwares: tuple[str, ...] = ("bios",)
    numa: tuple[NumaNode, ...] = ()
    """Every node, by number; empty: the machine does not say."""
    cpu_models: tuple[str, ...] = ()
    """Named CPU models that guests can have here; empty: not known."""
    storages: Mapping[str, str] = field(default_factory=dict)
    """Shared folders by name -> the id in their marker, which is the same on every host that sees the same folder."""


def clock_in_words(skew_seconds: float | None) -> str:
    """'2.5 s ahead of the server's'; '' when it is not known."""
    if skew_seconds is None:
        return ""
    return f"{abs(skew_seconds):.1f} s {'ahead of' if skew_seconds > 0 else 'behind'} the server's"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """What the machine is doing now. Cheap; sent with every heartbeat."""

    vms_running: int
    memory_free_mib: int
    disk_free_gib: int
    load1: float
    libvirt_connected: bool
    clock_skew_seconds: float | None = None
    """How far its clock is ahead of the server's (negative: behind), as the server finds; None: not known."""
    stalled: Mapping[str, float] = field(default_factory=dict)
    """'cpu_some', 'memory_full' ... -> share (0 to 1) of the last ten seconds in which some, or all, of what could have run had to wait; empty: not known."""

    @property
    def clock_is_off(self) -> bool:
        return self.clock_skew_seconds is not None and abs(self.clock_skew_seconds) > CLOCK_SKEW_SECONDS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    id: HostId
    name: str
    labels: Mapping[str, str]
    cordoned: bool
    drain_id: OperationId | None = None
    """The operation of its drain, which may have ended; None: it is not to be drained."""
    pool_id: PoolId | None = None
    pool_name: str = ""
    tuning: TuningAsk = field(default_factory=TuningAsk)
    """What its own knobs shall be. Its profile is also that of the VMs on it that name none."""
    tuned: HostTuned | None = None
    """What they are; None: its agent has not told."""
    facts: HostFacts | None
    load: HostLoad | None
    capacity: Amounts
    claimed: Amounts
    last_seen_at: float
    connected: bool
    created_at: float
    revision: int


def effective_host(host: Host) -> HostState:
    """Reachability first: a wish cannot hide that a host is not heard of."""
    if host.facts is None:
        return HostState.JOINING
    if not host.connected:
        return HostState.UNREACHABLE
    if host.drain_id is not None:
        return HostState.DRAINING if any(host.claimed.values()) else HostState.MAINTENANCE
    return HostState.CORDONED if host.cordoned else HostState.READY
