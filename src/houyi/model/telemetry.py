"""What a host counts about a VM: cumulative counters as it reads them, and what travels of them: rates over a period (docs/rfd/0003-see-and-tune.md).

Counters never leave the host. Rates of a period may be lost, which makes the record shorter, and are never wrong: a counter that went back begins anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from houyi.model.ids import VmId

PERIODS_KEPT = 360
"""Of each VM, the newest: an hour at the default rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VcpuCounters:
    """Of one virtual CPU. What is not known is 0."""

    number: int
    cpu_seconds: float = 0.0
    """It has used of the host's CPUs."""
    delay_seconds: float = 0.0
    """It could have run, and no CPU of the host was free for it: what the guest sees as steal."""
    wait_seconds: float = 0.0
    """It waited for something of the host other than a CPU."""
    kvm: Mapping[str, float] = field(default_factory=dict)
    """KVM's own cumulative statistics by the kernel's names: 'exits', 'halt_exits', 'io_exits' ...; empty: it does not run under KVM, or that was not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskCounters:
    name: str
    """As the guest has it first: 'vda'."""
    read_requests: int = 0
    read_bytes: int = 0
    read_seconds: float = 0.0
    """Sum of the time that each took."""
    write_requests: int = 0
    write_bytes: int = 0
    write_seconds: float = 0.0
    flush_requests: int = 0
    flush_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NicCounters:
    """As the guest sees it: received is what came to it."""

    name: str
    """'nic0' is the first that the VM was made with."""
    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_drops: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_drops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """No counters: as it is now, in MiB; 0: not known."""

    current_mib: float = 0.0
    """What the guest has."""
    rss_mib: float = 0.0
    """What the host holds for QEMU."""
    used_mib: float = 0.0
    """Of what it has, what the guest uses, by its balloon driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmCounters:
    """One reading of a running VM."""

    vm_id: VmId
    at: float
    """Unix seconds."""
    ticks_seconds: float
    """The same moment on the host's monotonic clock: periods are told from it."""
    run: str
    """Another after each start of the VM on this host; counters of two runs are not to be compared."""
    kvm: bool
    """Whether it runs under KVM; under TCG there are no VM exits."""
    whole: bool = True
    """False: libvirt was busy with it, so what QEMU counts (vCPUs' KVM statistics, disks) is missing and must not be compared."""
    cpu_seconds: float = 0.0
    """All of QEMU's: vCPUs, I/O threads, everything else."""
    vcpus: tuple[VcpuCounters, ...] = ()
    disks: tuple[DiskCounters, ...] = ()
    nics: tuple[NicCounters, ...] = ()
    memory: MemoryUse = MemoryUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class VcpuRates:
    number: int
    cpu: float = 0.0
    """Share of the period that it ran: 0..1."""
    delay: float = 0.0
    """Share of the period that it could have run but had to wait for a CPU."""
    wait: float = 0.0
    exits_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRates:
    name: str
    reads_s: float = 0.0
    read_mib_s: float = 0.0
    read_ms: float = 0.0
    """Mean time of a read in the period; 0: there was none."""
    writes_s: float = 0.0
    write_mib_s: float = 0.0
    write_ms: float = 0.0
    flushes_s: float = 0.0
    flush_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRates:
    """As the guest sees it."""

    name: str
    received_mib_s: float = 0.0
    received_packets_s: float = 0.0
    received_errors_s: float = 0.0
    received_drops_s: float = 0.0
    sent_mib_s: float = 0.0
    sent_packets_s: float = 0.0
    sent_errors_s: float = 0.0
    sent_drops_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRates:
    """What a VM did over a period, as its host counted it."""

    vm_id: VmId
    began_at: float
    """Unix seconds."""
    ended_at: float
    kvm: bool
    """Whether it runs under KVM; under TCG there are no VM exits."""
    cpu: float = 0.0
    """CPUs of the host that QEMU used, on average: 1.5 is one and a half."""
    exits: Mapping[str, float] = field(default_factory=dict)
    """KVM's statistics, a second, all vCPUs together, by the kernel's names; those that did not move are left out."""
    vcpus: tuple[VcpuRates, ...] = ()
    disks: tuple[DiskRates, ...] = ()
    nics: tuple[NicRates, ...] = ()
    memory: MemoryUse = MemoryUse()

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at

    @property
    def exits_s(self) -> float:
        """All VM exits, a second."""
        return self.exits.get("exits", 0.0)

    @property
    def delay(self) -> float:
        """Share of their time that the vCPUs had to wait for a CPU of the host, on average: what the guest sees as steal."""
        return sum(vcpu.delay for vcpu in self.vcpus) / len(self.vcpus) if self.vcpus else 0.0
