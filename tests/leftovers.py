"""Folders of test runs that were killed: each folder names the process that made it, and the next run removes those whose process is gone."""

import contextlib
import os
import shutil
from pathlib import Path

ROOM = Path("/tmp")
_OWNER = "owner"


def _birth(pid: int) -> str:
    """When a process started, in ticks since boot: with the pid, an identity; '' if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def own(folder: Path) -> None:
    """Write into a folder that this process made it."""
    (folder / _OWNER).write_text(f"{os.getpid()} {_birth(os.getpid())}")


def remove_leftovers(prefix: str) -> None:
    for folder in ROOM.glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, birth = (folder / _OWNER).read_text().split()
            if _birth(int(pid)) != birth:
                shutil.rmtree(folder, ignore_errors=True)
