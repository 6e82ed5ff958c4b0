"""Folders of test runs that were killed: each folder names the process that made it, and the next run removes those whose process is gone."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOM = Path("/tmp")
Before = Callable[[Path], None]
_OWNER = "owner"


def birth(pid: int) -> str:
    """When a process started, in ticks since boot: with the pid, an identity; '' if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def own(folder: Path) -> None:
    """Write into a folder that this process made it."""
    (folder / _OWNER).write_text(f"{os.getpid()} {birth(os.getpid())}")


def remove_leftovers(prefix: str, room: Path = ROOM, before: Before | None = None) -> None:
    """`before` is called with each folder that is going to be removed, to end what lives there."""
    for folder in room.glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, born = (folder / _OWNER).read_text().split()
            if birth(int(pid)) != born:
                if before is not None:
                    before(folder)
                shutil.rmtree(folder, ignore_errors=True)
