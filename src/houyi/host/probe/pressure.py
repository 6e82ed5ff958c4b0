"""How long tasks of this machine had to wait for CPU, memory and I/O: the kernel's pressure-stall information."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/proc/pressure")
RESOURCES = ("cpu", "memory", "io")
_LINE = re.compile(r"(some|full) avg10=([0-9.]+) .*total=([0-9]+)")


def pressure(folder: Path = FOLDER) -> Mapping[str, float]:
    """'cpu_some', 'memory_full' ... -> seconds since the machine's start that some, or all, of what could have run had to wait; empty: this kernel does not say."""
    return {name: total for name, (_, total) in _read(folder).items()}


def stalled(folder: Path = FOLDER) -> Mapping[str, float]:
    """By the same names: which share (0 to 1) of the last ten seconds that was."""
    return {name: share for name, (share, _) in _read(folder).items()}


def _read(folder: Path) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for resource in RESOURCES:
        with suppress(OSError):
            for kind, percent, microseconds in _LINE.findall((folder / resource).read_text()):
                found[f"{resource}_{kind}"] = (float(percent) / 100, int(microseconds) / 1e6)
    return found
