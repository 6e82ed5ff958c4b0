"""What /proc and /sys say of this machine. The roots are parameters, so that other machines' files can be read in tests."""

import os
import platform
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from houyi.host.probe.pressure import stalled
from houyi.model.host import NumaNode


@dataclass(frozen=True, slots=True)
class MachineFiles:
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    usable: Callable[[], Collection[int]] = lambda: os.sched_getaffinity(0)
    """Numbers of the CPUs that this process may use, not those of a machine of which we are given a part."""

    def boot_id(self) -> str:
        return (self.proc / "sys/kernel/random/boot_id").read_text().strip()

    def cpus(self) -> int:
        """How many are usable."""
        return len(self.usable())

    def cpu(self) -> tuple[str, tuple[str, ...]]:
        """The first CPU's model name and flags, sorted."""
        name, flags = "", ""
        for line in (self.proc / "cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and not name:
                name = value.strip()
            if key.strip() in ("flags", "Features") and not flags:
                flags = value
        return name or platform.machine(), tuple(sorted(flags.split()))

    def memory_mib(self) -> int:
        return self._meminfo("MemTotal")

    def memory_free_mib(self) -> int:
        """What can be had without swapping."""
        return self._meminfo("MemAvailable")

    def load1(self) -> float:
        """Runnable tasks, averaged over a minute."""
        return float((self.proc / "loadavg").read_text().split()[0])

    def stalled(self) -> Mapping[str, float]:
        """As `pressure.stalled`."""
        return stalled(self.proc / "pressure")

    def numa_nodes(self) -> int:
        return max(1, len(list((self.sys / "devices/system/node").glob("node[0-9]*"))))

    def numa(self) -> tuple[NumaNode, ...]:
        """Every node by number, with those of its CPUs that are usable; empty where the kernel knows no nodes."""
        usable, nodes = frozenset(self.usable()), []
        for folder in (self.sys / "devices/system/node").glob("node[0-9]*"):
            cpus = read_cpus((folder / "cpulist").read_text())
            memory = re.search(r"MemTotal:\s*(\d+) kB", (folder / "meminfo").read_text())
            nodes.append(
                NumaNode(
                    number=int(folder.name.removeprefix("node")),
                    cpus=tuple(cpu for cpu in cpus if cpu in usable),
                    memory_mib=int(memory.group(1)) // 1024 if memory else 0,
                )
            )
        return tuple(sorted(nodes, key=lambda node: node.number))

    def hugepages(self) -> dict[str, int]:
        """Page size in KiB -> pages that are reserved."""
        found = {}
        for folder in sorted((self.sys / "kernel/mm/hugepages").glob("hugepages-*kB")):
            size = folder.name.removeprefix("hugepages-").removesuffix("kB")
            found[size] = int((folder / "nr_hugepages").read_text())
        return found

    def _meminfo(self, key: str) -> int:
        for line in (self.proc / "meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) // 1024
        return 0


def read_cpus(text: str) -> tuple[int, ...]:
    """The kernel's list format: '0-2,8' -> (0, 1, 2, 8)."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def disk_gib(folder: Path) -> tuple[int, int]:
    """(size, free to us) of the file system that holds `folder`, in whole GiB."""
    figures = os.statvfs(folder)
    return figures.f_blocks * figures.f_frsize >> 30, figures.f_bavail * figures.f_frsize >> 30
