"""How the kernel was started, and what it does against flaws of the CPU."""

import shlex

from houyi.host.probe.reading import Reading
from houyi.model.host_report import KernelTraits

_CPU = "sys/devices/system/cpu"
_SAID_MAX = 200
TOLD = frozenset(
    (
        "mitigations", "nopti", "pti", "nospectre_v1", "nospectre_v2", "spectre_v2", "spec_store_bypass_disable", "retbleed", "mds", "l1tf", "kvm-intel.vmentry_l1d_flush",
        "nosmt", "maxcpus", "nr_cpus", "audit", "nohz", "nohz_full", "highres", "hpet", "tsc", "clocksource", "notsc", "isolcpus", "rcu_nocbs", "irqaffinity",
        "idle", "processor.max_cstate", "intel_idle.max_cstate", "cpuidle.off", "intel_pstate", "amd_pstate", "cpufreq.default_governor", "nox2apic", "noapic", "nolapic", "noapictimer",
        "intel_iommu", "amd_iommu", "iommu", "iommu.passthrough", "iommu.strict", "intremap", "kvm-intel.nested", "kvm-amd.nested", "kvm.halt_poll_ns",
        "hugepages", "hugepagesz", "default_hugepagesz", "transparent_hugepage", "numa", "numa_balancing", "slub_debug", "page_poison", "page_alloc.shuffle", "init_on_alloc",
        "init_on_free", "debug_pagealloc", "kasan", "kmemleak", "lockdep", "ftrace", "nokaslr", "preempt", "threadirqs", "skew_tick", "nowatchdog", "nmi_watchdog",
        "swapaccount", "cgroup_disable", "psi", "elevator", "pcie_aspm", "memhp_default_state",
    )
)  # fmt: skip
"""Parameters that leave the machine. The others are nobody's business here, and may hold secrets."""


def read_kernel(reading: Reading) -> KernelTraits:
    folder = f"{_CPU}/vulnerabilities"
    names = reading.names(folder)
    if not names:
        reading.lost("kernel.vulnerabilities", f"/{folder} cannot be listed")
    said = {name: reading.text(f"{folder}/{name}", "kernel.vulnerabilities") for name in names}
    return KernelTraits(
        release=reading.text("proc/sys/kernel/osrelease", "kernel.release") or "",
        command_line=reading.parsed("proc/cmdline", _words, "kernel.command_line"),
        vulnerabilities={name: text[:_SAID_MAX] for name, text in said.items() if text is not None},
        isolated=reading.text(f"{_CPU}/isolated"),
        nohz_full=reading.text(f"{_CPU}/nohz_full"),
        smt=reading.text(f"{_CPU}/smt/control", "kernel.smt"),
    )


def _words(text: str) -> tuple[str, ...]:
    """The kernel's own parameters only: after `--` are init's, which may be anything."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    own = words[: words.index("--")] if "--" in words else words
    return tuple(word[:_SAID_MAX] for word in own if word.partition("=")[0].replace("kvm_", "kvm-", 1) in TOLD)
