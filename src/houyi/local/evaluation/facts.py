"""What describes this machine in a report."""

import os
import platform
from pathlib import Path

from houyi.host.probe.machine import MachineFiles

_FILES = {
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "clock source": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "transparent huge pages": "/sys/kernel/mm/transparent_hugepage/enabled",
    "SMT": "/sys/devices/system/cpu/smt/control",
    "kernel parameters": "/proc/cmdline",
}


def machine_facts() -> dict[str, str]:
    """Name -> value; what cannot be read is left out."""
    files = MachineFiles()
    found = {
        "name": platform.node(),
        "CPU": files.cpu()[0],
        "CPUs": str(files.cpus()),
        "memory": f"{files.memory_mib()} MiB",
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
    for name, file in _FILES.items():
        try:
            found[name] = Path(file).read_text().strip()
        except OSError:
            continue
    return found
