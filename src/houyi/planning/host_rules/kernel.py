"""How the kernel was started, and what it does against flaws of the CPU."""

from collections.abc import Iterator
from dataclasses import dataclass

from houyi.model.host_report import Area, HostTraits, Item
from houyi.planning.host_rules.words import unknown


def _item(name: str, value: str, meaning: str, advice: str = "", weight: int = 0) -> Item:
    return Item(name=name, area=Area.KERNEL, value=value, meaning=meaning, advice=advice, weight=weight if advice else 0)


@dataclass(frozen=True, slots=True)
class Costly:
    """A parameter of the command line. :param values: with which it matters; empty: with any."""

    name: str
    values: tuple[str, ...]
    meaning: str
    advice: str
    weight: int


_OFF = ("off", "0", "n", "no")
_ON = ("on", "1", "y", "yes", "")
_TAKE_OUT = "take it off the kernel command line"
_DEBUG = "a check for errors in the kernel, at each use of memory"

COSTLY: tuple[Costly, ...] = (
    Costly("idle", ("poll",), "CPUs never sleep: wake-ups are fast, but no core has room for turbo, and threads of a core slow each other",
           "take it off, and use guests' polling or /dev/cpu_dma_latency where it is needed", 60),
    Costly("idle", ("halt", "nomwait"), "CPUs sleep by HLT only: deeper states, which give turbo its room, are not used", _TAKE_OUT, 25),
    Costly("processor.max_cstate", ("0", "1"), "CPUs hardly sleep: wake-ups are fast, turbo has less room, more power", "keep it only where fast answers count", 15),
    Costly("intel_idle.max_cstate", ("0", "1"), "CPUs hardly sleep: wake-ups are fast, turbo has less room, more power", "keep it only where fast answers count", 15),
    Costly("cpuidle.off", ("1",), "no C-state is chosen: CPUs idle as the architecture does by itself", _TAKE_OUT, 20),
    Costly("nohz", _OFF, "idle CPUs tick on: they never sleep deeply, and each tick is an exit of the guest that runs", _TAKE_OUT, 45),
    Costly("highres", _OFF, "timers run out only at ticks: guests' timers are late by milliseconds", _TAKE_OUT, 55),
    Costly("audit", _ON, "each system call is looked at for audit, QEMU's and vhost's too", "boot with audit=0, unless rules of audit are in use", 15),
    Costly("nosmt", (), "half of the threads are off: less work in all, safer between guests", "keep it only if guests of different owners may share cores otherwise", 20),
    Costly("maxcpus", (), "not all CPUs are used", _TAKE_OUT, 50),
    Costly("nr_cpus", (), "the kernel knows no more CPUs than that", "see that it is not less than the machine has", 10),
    Costly("nox2apic", (), "the host sends interrupts by memory accesses, and large machines cannot use all CPUs", _TAKE_OUT, 45),
    Costly("noapic", (), "interrupts of devices go to one CPU", _TAKE_OUT, 70),
    Costly("nolapic", (), "CPUs have no timers of their own, and only one is used", _TAKE_OUT, 80),
    Costly("intremap", ("off",), "interrupts are not remapped: no device can be given to a guest safely, and none is posted", _TAKE_OUT, 45),
    Costly("intel_iommu", ("off",), "no device can be given to a guest", _TAKE_OUT, 40),
    Costly("amd_iommu", ("off",), "no device can be given to a guest", _TAKE_OUT, 40),
    Costly("iommu", ("off", "soft"), "no device can be given to a guest", _TAKE_OUT, 40),
    Costly("iommu.strict", _ON, "each unmapped buffer of a device waits for the IOMMU", "boot with iommu=pt", 25),
    Costly("notsc", (), "time is read from slow devices", _TAKE_OUT, 70),
    Costly("tsc", ("unstable",), "time is read from slow devices", _TAKE_OUT, 70),
    Costly("clocksource", ("hpet", "acpi_pm", "jiffies", "pit"), "time is read from slow devices", _TAKE_OUT, 70),
    Costly("numa", _OFF, "the kernel does not know which memory is near: guests get it from anywhere", _TAKE_OUT, 60),
    Costly("kvm-intel.vmentry_l1d_flush", ("always",), "the first-level cache is emptied each time a guest goes on",
           "`cond` (the kernel's own choice) empties it only where something can leak", 35),
    Costly("spec_store_bypass_disable", ("on",), "loads never go ahead of stores, in guests too", "`prctl` or `seccomp`, the kernel's own choice, does it for those that ask", 30),
    Costly("spectre_v2", ("on",), "every mitigation is on, whether this CPU needs it or not", "`auto` takes those that are needed", 30),
    Costly("init_on_free", _ON, "memory is cleared when it is freed, too: page faults and network buffers cost more", "init_on_alloc alone keeps old content from being read", 30),
    Costly("debug_pagealloc", _ON, _DEBUG, _TAKE_OUT, 60),
    Costly("page_poison", _ON, _DEBUG, _TAKE_OUT, 45),
    Costly("slub_debug", (), _DEBUG, _TAKE_OUT, 45),
    Costly("kasan", _ON, _DEBUG, _TAKE_OUT, 60),
    Costly("kmemleak", ("on",), _DEBUG, _TAKE_OUT, 45),
    Costly("preempt", ("full",), "the kernel gives way at more places: shorter waits, less work done", "`voluntary` or `lazy` for throughput", 10),
    Costly("threadirqs", (), "interrupts are handled by threads: packets take a scheduling more", "keep it only for real-time guests", 20),
    Costly("cgroup_disable", ("memory",), "the memory of VMs cannot be limited nor told apart", _TAKE_OUT, 20),
    Costly("intel_pstate", ("disable",), "frequencies are set by an older driver, from outside the CPU", _TAKE_OUT, 20),
    Costly("amd_pstate", ("disable",), "frequencies are set by an older driver, from outside the CPU", _TAKE_OUT, 20),
    Costly("transparent_hugepage", ("never",), "guests are backed by 4 KiB pages", "boot with transparent_hugepage=madvise", 50),
)  # fmt: skip
"""In the order in which they are looked at; one that is worse than another weighs more."""


def command_line(traits: HostTraits) -> Iterator[Item]:
    words = traits.kernel.command_line
    if words is None:
        yield _item("kernel command line", unknown(traits, "kernel.command_line"), "how the kernel was started")
        return
    for word in words:
        name, _, value = word.partition("=")
        for costly in COSTLY:
            if costly.name == name.replace("kvm_", "kvm-", 1) and (not costly.values or value in costly.values):
                yield _item(f"kernel parameter {name}", word, costly.meaning, costly.advice, costly.weight)
                break


def isolation(traits: HostTraits) -> Iterator[Item]:
    kernel = traits.kernel
    for name, cpus in (("isolated CPUs", kernel.isolated), ("tickless CPUs", kernel.nohz_full)):
        if cpus and cpus != "(null)":
            yield _item(name, cpus, "the scheduler leaves them to what is pinned there: undisturbed for such VMs, and lost for all others")


_AT_EXITS = (
    ("Mitigation: IBRS", "spectre_v2", "retbleed"),
    ("cache flushes", "l1tf"),
    ("Clear CPU buffers", "mds", "mmio_stale_data", "tsx_async_abort", "reg_file_data_sampling", "tsa"),
    ("Safe RET", "spec_rstack_overflow"),
    ("IBPB", "vmscape", "retbleed", "spec_rstack_overflow"),
)
"""What the kernel's words say that is done at exits and entries of guests, and for which flaws."""


def mitigations(traits: HostTraits) -> Iterator[Item]:
    said = traits.kernel.vulnerabilities
    if not said:
        yield _item("CPU flaws", unknown(traits, "kernel.vulnerabilities"), "what keeps guests from reading each other's memory")
        return
    yield from _off(traits.kernel.command_line or ())
    open_ = sorted(name for name, text in said.items() if text.startswith("Vulnerable"))
    partly = sorted(name for name, text in said.items() if not text.startswith("Vulnerable") and "vulnerable" in text.lower())
    handled = sum(text.startswith("Mitigation") for text in said.values())
    value = f"{handled} mitigated, {sum(text == 'Not affected' for text in said.values())} not there" + (f", open: {', '.join(open_)}" if open_ else "")
    value += f", partly open: {', '.join(partly)}" if partly else ""
    advice, weight = "", 0
    if open_:
        advice, weight = "install the newest microcode and kernel: guests of different owners may be able to read each other's memory", 70
    elif partly:
        advice, weight = (
            f"see /sys/devices/system/cpu/vulnerabilities ({', '.join(partly)}): mostly two threads of a core that different owners' guests share",
            35,
        )
    yield _item("CPU flaws", value, "what keeps guests from reading each other's memory", advice, weight)
    paid = [f"{name} ({what.removeprefix('Mitigation: ')})" for what, *names in _AT_EXITS for name in names if what in said.get(name, "")]
    if paid:
        meaning = "work that is done each time a guest leaves or goes on: fewer exits make up for it, nothing else should"
        yield _item("mitigations at VM exits", ", ".join(paid), meaning)


def _off(words: tuple[str, ...]) -> Iterator[Item]:
    for word in words:
        name, _, value = word.partition("=")
        if (
            word == "mitigations=off"
            or name in ("nopti", "nospectre_v1", "nospectre_v2")
            or (name in ("spectre_v2", "retbleed", "l1tf", "mds", "pti") and value == "off")
        ):
            meaning = "guests and processes can read memory that is not theirs: faster, and for machines of one owner only"
            yield _item(f"kernel parameter {name}", word, meaning, f"{_TAKE_OUT}, unless everything here belongs to one owner", 75)
        elif name == "mitigations" and "no_guest" in value:
            meaning = "mitigations between guests, or between guest and host, are left out: guests may read memory that is not theirs"
            yield _item(f"kernel parameter {name}", word, meaning, "boot with mitigations=auto, unless all guests belong to one owner", 72)


RULES = (command_line, isolation, mitigations)
