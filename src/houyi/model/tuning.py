"""What can be tuned: a knob is a named thing with closed values, a profile a named set of settings. Shapes only; the knobs themselves are in `planning.tuning`.

What a VM is asked to run with is `VmSpec.profile` and `VmSpec.knobs`; what it runs with is read back from the machine (`ObservedVm.tuned`). A profile gives what
a host can; an own knob is a demand. A host's settings are its own profile and knobs, and what was there before is remembered until they are taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Settings = Mapping[str, str]
"""Name of a knob -> its value."""

AUTO = "auto"
"""The value that leaves a thing as it is without the knob: the CPU model's, QEMU's or the machine's own choice."""


class Scope(StrEnum):
    VM = "vm"
    HOST = "host"


class Subject(StrEnum):
    """What a knob is about; the files of `planning.tuning` are named so."""

    TIMERS = "timers"
    INTERRUPTS = "interrupts"
    IDLE = "idle"
    MEMORY = "memory"
    CPU = "cpu"
    IO = "io"
    NET = "net"
    POWER = "power"


class Takes(StrEnum):
    """When a changed setting takes effect."""

    LIVE = "live"
    NEXT_START = "next_start"
    """Of the VM."""
    NEXT_LOAD = "next_load"
    """Of a kernel module: after a reboot, or when it is loaded again with no VM on the host."""


class Means(StrEnum):
    """By what it is set."""

    LIBVIRT = "libvirt"
    """An element of libvirt's domain XML."""
    QEMU = "qemu"
    """An option of QEMU that libvirt has no word for, through its name space for such: libvirt marks the VM as started with options of our own."""
    FILE = "file"
    """A file of the kernel."""
    MODULE = "module"
    """A parameter that a kernel module reads when it is loaded."""
    DEVICE = "device"
    """A device that the agent holds open for as long as the setting holds."""


class Symptom(StrEnum):
    """Coarse classes of VM exits, and of waits, that knobs change."""

    HALT = "halt"
    """The guest's CPU has nothing to do."""
    TIMER = "timer"
    """A timer is set, or has run out."""
    IPI = "ipi"
    """One vCPU wakes or interrupts another."""
    EOI = "eoi"
    """An interrupt is acknowledged."""
    INTERRUPT = "interrupt"
    """An interrupt of the host arrives while the guest runs, or one for the guest has to be put in."""
    KICK = "kick"
    """A virtio device is told that there is work."""
    IO = "io"
    """A port is read or written that QEMU emulates."""
    MMIO = "mmio"
    """Memory of a device that QEMU emulates."""
    PAUSE = "pause"
    """The guest spins for a lock whose holder does not run."""
    PAGE_FAULT = "page_fault"
    """The second stage of translation has no entry."""
    MSR = "msr"
    """A register of the CPU, no timer's and no interrupt's."""
    CPUID = "cpuid"
    HYPERCALL = "hypercall"
    TLB = "tlb"
    """Translations are invalidated on other vCPUs."""
    WAKE = "wake"
    """From an event until the vCPU runs again."""
    STEAL = "steal"
    """The vCPU could run, and the host's CPU does something else."""
    TRANSLATION = "translation"
    """Memory accesses that wait for page tables: of the guest and of the host."""
    DISK = "disk"
    NETWORK = "network"
    MEMORY = "memory"
    """What VMs need of it, not how fast it is."""


class Need(StrEnum):
    """What a host must have for a setting; the planner knows how to find it in the facts of a host."""

    KVM = "kvm"
    HUGEPAGES_2M = "hugepages_2m"
    HUGEPAGES_1G = "hugepages_1g"
    NUMA = "numa"
    """It says which CPUs it has."""
    X2APIC = "x2apic"
    TSC_DEADLINE = "tsc-deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value of a knob."""

    value: str
    what: str
    needs: tuple[Need, ...] = ()
    excludes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other knobs' values that cannot go with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Integers that a knob takes beside its choices."""

    least: int
    most: int
    unit: str
    needs: tuple[Need, ...] = ()
    excludes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """It says what it is before it is used."""

    name: str
    subject: Subject
    scope: Scope
    what: str
    changes: tuple[Symptom, ...]
    """The exits and waits that it should make fewer or shorter, the one that it is for first."""
    takes: Takes
    means: Means
    choices: tuple[Choice, ...]
    numbers: Numbers | None = None
    default: str = AUTO
    """The value of a machine without it."""
    risk: str = ""
    guest: str = ""
    """What must be so in the guest; empty: nothing."""
    measured: str = ""
    """Where it was measured; empty: it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named set of settings, each with a reason."""

    name: str
    what: str
    vm: Settings
    """Of VM knobs."""
    host: Settings
    """Of host knobs."""
    risk: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A setting that addresses what a VM's exits or waits are about."""

    knob: Knob
    value: str
    symptom: Symptom
    """What it addresses most."""
    share: float
    """0..1: of all exits that is of this class, or of its time that the VM waits so."""
    gain: float
    """0..1: what may go away at best, over all that it addresses: by this advice is in order."""
    why: str


class Source(StrEnum):
    """Where a setting comes from; the first that says something wins."""

    OWN = "own"
    PROFILE = "profile"
    HOST_PROFILE = "host_profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    knob: str
    value: str
    source: Source
    why_not: str = ""
    """Why it does not hold there; empty: it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningAsk:
    """What a host's own knobs shall be."""

    profile: str = ""
    knobs: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTuned:
    """What a host's own knobs are, as its agent reads them back."""

    values: Settings = field(default_factory=dict)
    """Of every knob that the machine has."""
    before: Settings = field(default_factory=dict)
    """Of those that we have set: what was there, and what is put back."""
    problems: Settings = field(default_factory=dict)
    """Knob -> why it is not what it shall be."""
