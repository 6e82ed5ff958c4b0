"""What a host can do for VMs, and what costs performance there: traits are what was found, items are what it means.

A trait that could not be read is None and has a reason in `HostTraits.unknown`; nothing is guessed. The items are made of the traits by `planning.host_report`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.host import AcceleratorProbe


class Has(StrEnum):
    """How it is with something that a machine may have."""

    ON = "on"
    OFF = "off"
    """It is there, and switched off."""
    ABSENT = "absent"


class Area(StrEnum):
    """What an item is about; rules are in files of these names in `planning.host_rules`."""

    VIRTUALIZATION = "virtualization"
    MEMORY = "memory"
    POWER = "power"
    DEVICES = "devices"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtTraits:
    """What the CPU and the kernel's module give guests. :param None: not known."""

    vendor: str = ""
    """'intel', 'amd', or '' for any other."""
    inside_vm: bool = False
    """The machine is itself a VM."""
    module: str = ""
    """KVM's module for this CPU: 'kvm_intel', 'kvm_amd' or another; '' where none is loaded."""
    hardware: Has | None = None
    """VT-x or SVM; OFF: the CPU has it and the firmware forbids it, or no module uses it."""
    nested_paging: Has | None = None
    """EPT or NPT."""
    vpid: Has | None = None
    """Tagged translations: VPID, or AMD's ASIDs."""
    apic: Has | None = None
    """APICv or AVIC."""
    posted_interrupts: Has | None = None
    """Interrupts of devices that reach a running guest without an exit."""
    unrestricted_guest: Has | None = None
    """Real mode without emulation."""
    preemption_timer: Has | None = None
    """The CPU's own timer for guests; on AMD there is none."""
    nested: Has | None = None
    """Guests may run VMs of their own."""
    halt_poll: Mapping[str, int] = field(default_factory=dict)
    """'halt_poll_ns', its '_grow', '_grow_start' and '_shrink'."""
    nx_huge_pages: bool | None = None
    """KVM splits huge pages of code, against a flaw of older Intel CPUs."""
    pi_inject_timer: bool | None = None
    """Timers of guests are injected by another CPU without an exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HugePool:
    """Pages of one size on one NUMA node."""

    node: int
    page_kib: int
    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTraits:
    number: int
    cpus: str
    """As the kernel lists them: '0-15,32-47'."""
    memory_mib: int
    distances: tuple[int, ...] = ()
    """To every node by number; 10 is to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTraits:
    total_mib: int | None = None
    huge_pools: tuple[HugePool, ...] = ()
    thp: str | None = None
    """Of transparent huge pages: 'always', 'madvise' or 'never'."""
    thp_defrag: str | None = None
    thp_shmem: str | None = None
    nodes: tuple[NodeTraits, ...] = ()
    numa_balancing: bool | None = None
    ksm_run: int | None = None
    """0: stopped, 1: runs, 2: stopped and unmerged."""
    ksm_sharing_mib: int | None = None
    """What would be needed more without it."""
    ksm_across_nodes: bool | None = None
    swap_mib: int | None = None
    swap_used_mib: int | None = None
    swappiness: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleState:
    """A C-state of the first CPU."""

    name: str
    latency_us: int
    """To come back from it."""
    disabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTraits:
    cpus: int | None = None
    threads_per_core: int | None = None
    freq_driver: str | None = None
    """'' where the kernel does not set frequencies."""
    governors: tuple[str, ...] = ()
    """Every one that is in use."""
    preference: str | None = None
    """Energy against performance, where the CPU chooses: 'performance', 'balance_performance' ..."""
    boost: Has | None = None
    idle_driver: str | None = None
    idle_states: tuple[IdleState, ...] = ()
    clock_source: str | None = None
    clock_sources: tuple[str, ...] = ()
    tsc_steady: bool | None = None
    """It runs at one rate, and goes on in deep C-states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalFunction:
    """A PCI device that can be split."""

    address: str
    driver: str
    """'' without one."""
    interfaces: tuple[str, ...]
    vfs_total: int
    vfs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTraits:
    iommus: tuple[str, ...] = ()
    iommu_groups: int | None = None
    interrupt_remapping: bool | None = None
    unsafe_interrupts: bool | None = None
    """VFIO gives devices to guests also without interrupt remapping."""
    vhost_net: Has | None = None
    """OFF: its module is there and not loaded."""
    vhost_user: Has | None = None
    """QEMU can leave a disk or NIC to another process."""
    functions: tuple[PhysicalFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTraits:
    release: str = ""
    command_line: tuple[str, ...] | None = None
    vulnerabilities: Mapping[str, str] = field(default_factory=dict)
    """Name -> what the kernel says: 'Not affected', 'Mitigation: ...', 'Vulnerable ...'."""
    isolated: str | None = None
    """CPUs that the scheduler leaves alone, as the kernel lists them."""
    nohz_full: str | None = None
    smt: str | None = None
    """'on', 'off', 'forceoff', 'notsupported', 'notimplemented'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTraits:
    """Everything that was found on one machine."""

    accelerator: AcceleratorProbe
    virt: VirtTraits = field(default_factory=VirtTraits)
    memory: MemoryTraits = field(default_factory=MemoryTraits)
    power: PowerTraits = field(default_factory=PowerTraits)
    devices: DeviceTraits = field(default_factory=DeviceTraits)
    kernel: KernelTraits = field(default_factory=KernelTraits)
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Trait ('memory.thp') -> why it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing about a host, in words."""

    name: str
    area: Area
    value: str
    """What was found; 'unknown: ' and why, where nothing was."""
    meaning: str
    """What it does for VMs, or costs them."""
    advice: str = ""
    """What to do; empty: nothing."""
    weight: int = 0
    """How much following the advice is worth, 0 to 100: an order for people, no measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """What a host said of itself, and when it came."""

    traits: HostTraits
    at: float
