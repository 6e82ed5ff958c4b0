"""QEMU processes of our VMs as the kernel shows them: the last resort of `houyi down`, when libvirt does not answer.

A process counts only if its command line names one of our domains *and* our state_dir, and it lives in our network and process namespaces:
another Houyi on the same machine (a test's, a container's) is somebody else.
"""

import re
from pathlib import Path

from houyi.local.processes import Known, look_up

_GUEST = re.compile(rb"(^|,)guest=houyi-[0-9a-f-]{36}(,|$)")
_NAMESPACES = ("net", "pid")


def orphans(state_dir: Path, proc: Path = Path("/proc")) -> tuple[Known, ...]:
    """Those that run now."""
    disks = f"{state_dir.absolute()}/vms/".encode()
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = any(_GUEST.search(word) for word in words) and any(disks in word for word in words)
            near = ours and all((entry / "ns" / kind).readlink() == (proc / "self" / "ns" / kind).readlink() for kind in _NAMESPACES)
        except OSError:  # it has just ended
            continue
        known = look_up(int(entry.name), proc) if near else None
        if known is not None:
            found.append(known)
    return tuple(found)
