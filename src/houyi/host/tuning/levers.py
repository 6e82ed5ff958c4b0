"""Which lever each host knob is, and where. The roots are parameters, so that tests can give folders of their own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from houyi.host.tuning.lever import DeviceLever, FileLever, IdleLever, Lever, ModuleLever

DEEP_US = 20
"""What `c_states=shallow` leaves out: on servers of the last ten years C1 and C1E take 2 to 10 us to leave, C6 50 us and more."""

_SWITCH = {"on": "1", "off": "0"}
_FLAG = {"on": "Y", "off": "N"}


@dataclass(frozen=True, slots=True)
class Roots:
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    modprobe: Path = Path("/etc/modprobe.d")


def levers(roots: Roots = Roots()) -> Mapping[str, Lever]:
    """Every host knob's."""
    sys, kvm = roots.sys, roots.sys / "module/kvm/parameters"
    return {
        "pi_inject_timer": FileLever(_one(kvm / "pi_inject_timer"), _injecting(kvm / "pi_inject_timer")),
        "avic": _module(roots, "kvm_amd", "avic"),
        "apicv": _module(roots, "kvm_intel", "enable_apicv"),
        "halt_poll_ns": FileLever(_one(kvm / "halt_poll_ns")),
        "halt_poll_ns_grow": FileLever(_one(kvm / "halt_poll_ns_grow")),
        "halt_poll_ns_grow_start": FileLever(_one(kvm / "halt_poll_ns_grow_start")),
        "halt_poll_ns_shrink": FileLever(_one(kvm / "halt_poll_ns_shrink")),
        "ksm": FileLever(_one(sys / "kernel/mm/ksm/run"), {"off": "0", "on": "1", "unmerge": "2"}),
        "thp": FileLever(_one(sys / "kernel/mm/transparent_hugepage/enabled")),
        "thp_defrag": FileLever(_one(sys / "kernel/mm/transparent_hugepage/defrag")),
        "numa_balancing": FileLever(_one(roots.proc / "sys/kernel/numa_balancing"), _SWITCH),
        "governor": FileLever(_each(sys / "devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_governor")),
        "c_states": IdleLever(_each(sys / "devices/system/cpu", "cpu[0-9]*/cpuidle/state[0-9]*"), DEEP_US),
        "cpu_dma_latency": DeviceLever(roots.dev / "cpu_dma_latency"),
    }


def _injecting(path: Path) -> Mapping[str, str]:
    """The kernel shows a flag, as a number in older versions."""
    try:
        return _FLAG if path.read_text().strip() in ("Y", "N") else _SWITCH
    except OSError:
        return _SWITCH


def _module(roots: Roots, module: str, parameter: str) -> Lever:
    loaded = roots.sys / "module" / module / "parameters" / parameter
    return ModuleLever(module, parameter, loaded, roots.modprobe / f"houyi-{module}-{parameter}.conf", _SWITCH)


def _one(path: Path) -> Callable[[], list[Path]]:
    return lambda: [path] if path.exists() else []


def _each(folder: Path, pattern: str) -> Callable[[], list[Path]]:
    return lambda: sorted(folder.glob(pattern))
