"""Which threads are the vCPUs of a VM: QEMU's process is known by the UUID in its command line, its threads by the names that libvirt has QEMU give them."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from houyi.model.ids import VmId

PROC = Path("/proc")
_VCPU = re.compile(r"CPU [0-9]+/([A-Z]+)")


@dataclass(frozen=True, slots=True)
class Threads:
    vcpus: frozenset[int]
    """Ids of the threads that run its vCPUs; of all that ever were seen, where a vCPU was plugged in meanwhile."""
    kvm: bool


def threads_of(vm_id: VmId, proc: Path = PROC) -> Threads | None:
    """None: no QEMU runs that VM here."""
    for folder in proc.iterdir():
        if folder.name.isdigit() and _runs(folder, vm_id):
            return _threads(folder)
    return None


def _runs(folder: Path, vm_id: VmId) -> bool:
    with suppress(OSError):
        words = (folder / "cmdline").read_bytes().split(b"\0")
        return any(word == b"-uuid" and words[number + 1] == vm_id.encode() for number, word in enumerate(words[:-1]))
    return False


def _threads(folder: Path) -> Threads:
    vcpus, kinds = set(), set()
    with suppress(OSError):
        for task in (folder / "task").iterdir():
            with suppress(OSError):
                found = _VCPU.fullmatch((task / "comm").read_text().strip())
                if found:
                    vcpus.add(int(task.name))
                    kinds.add(found[1])
    return Threads(frozenset(vcpus), "KVM" in kinds)
