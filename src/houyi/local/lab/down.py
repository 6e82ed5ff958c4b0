"""`houyi lab down`: end a lab and remove it. Works from any state: its first process killed, the machine rebooted, half of it made.

Everything of a lab lives in the pid namespace of its first process, and ends with it; links, rules and mounts are in namespaces that end with
their last process. So there is one thing to end, found by pid and time of birth, and one folder to remove.
"""

import asyncio
import contextlib
import shutil

from houyi.local.lab.birth import born
from houyi.local.lab.layout import LabFolder
from houyi.local.lab.up import only_one
from houyi.local.processes import kill, until
from houyi.local.up import check_root
from houyi.model.errors import Failed

REMOVE_SECONDS = 10.0


async def lab_down(lab: LabFolder, *, keep: bool = False) -> bool:
    """False: there was no such lab. `keep`: leave its data, for the next `up`.

    :raise Forbidden: `not_root`. :raise Failed: `lab_down_incomplete`.
    """
    check_root()
    if not lab.path.is_dir():
        return False
    async with only_one(lab):
        known = born(lab.path)
        if known is not None:
            await kill(known)
        if born(lab.path) is not None:
            raise Failed(
                "lab_down_incomplete", f"the first process of lab {lab.name} (pid {known.pid if known else 0}) does not end: look what the kernel waits for"
            )
        lab.login.unlink(missing_ok=True)
        lab.control.unlink(missing_ok=True)
        if not keep:
            await _remove(lab)
    return True


async def _remove(lab: LabFolder) -> None:
    """Its record goes last, so that a `down` that is interrupted can be repeated."""

    async def gone() -> bool:  # the kernel may need a moment for the last process and its mounts
        for path in sorted(lab.path.iterdir(), key=lambda path: path == lab.record_file):
            if path.is_dir() and not path.is_symlink():
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            lab.path.rmdir()
        return not lab.path.exists()

    if not await until(gone, REMOVE_SECONDS):
        left = next(iter(sorted(lab.path.rglob("*"))), lab.path)
        raise Failed("lab_down_incomplete", f"lab {lab.name} is ended, but {left} could not be removed: remove {lab.path} by hand")
    with contextlib.suppress(OSError):  # the folder of all labs, if this was the last
        lab.path.parent.rmdir()
