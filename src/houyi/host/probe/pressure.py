"""How long tasks of this machine had to wait for CPU, memory and I/O: the kernel's pressure-stall information."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/proc/pressure")
RESOURCES = ("cpu", "memory", "io")
_LINE = re.compile(r"(some|full) .*total=([0-9]+)")


def pressure(folder: Path = FOLDER) -> Mapping[str, float]:
    """'cpu_some', 'memory_full' ... -> seconds since the machine's start that some, or all, of what could have run had to wait; empty: this kernel does not say."""
    found: dict[str, float] = {}
    for resource in RESOURCES:
        with suppress(OSError):
            for kind, microseconds in _LINE.findall((folder / resource).read_text()):
                found[f"{resource}_{kind}"] = int(microseconds) / 1e6
    return found
