"""Control groups for the container: as much CPU and memory as a VM has, in version 2 of the kernel's interface or in version 1."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from houyi.host import shell
from houyi.model.errors import Failed

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
_SECONDS = 20.0
_LOOKS, _LOOK_SECONDS = 100, 0.05
_REAL_TIME = "cpu.rt_runtime_us"
_REAL_TIME_US = 500_000
"""Of each second. Some kernels give a group no real-time threads without it, and latencies are measured by those; where it cannot be given, they fail and are shown so."""


@asynccontextmanager
async def hierarchy(folder: Path, root: Path = ROOT) -> AsyncIterator[Path]:
    """Where control groups are: as the machine has mounted them, else (on a lab's hosts) mounted in `folder` for so long. :raise Failed: `cgroup_unavailable`."""
    if any((root / name).exists() for name in ("cgroup.controllers", "cpu", "memory")):
        yield root
        return
    # The first that has both controllers; version 1 has each in a place of its own.
    mounted: list[Path] = []
    folder.mkdir(mode=0o700)
    try:
        if not await _mount(folder, "cgroup2", "", mounted) or not {"cpu", "memory"} <= set((folder / "cgroup.controllers").read_text().split()):
            await _unmount(mounted)
            for name in ("cpu", "memory"):
                (folder / name).mkdir()
                if not await _mount(folder / name, "cgroup", name, mounted):
                    raise Failed("cgroup_unavailable", f"the kernel's control groups ({name}) cannot be mounted here: leave the container out")
        yield folder
    finally:
        await _unmount(mounted)
        shutil.rmtree(folder, ignore_errors=True)


async def _mount(place: Path, kind: str, options: str, mounted: list[Path]) -> bool:
    ran = await shell.run(["mount", "-t", kind, *(("-o", options) if options else ()), "none", str(place)], timeout=_SECONDS, check=False)
    if ran.code == 0:
        mounted.append(place)
    return ran.code == 0


async def _unmount(mounted: list[Path]) -> None:
    while mounted:
        await shell.run(["umount", "--lazy", str(mounted.pop())], timeout=_SECONDS, check=False)


@dataclass(frozen=True, slots=True)
class Groups:
    """Folders of one group: one, or in version 1 one a controller."""

    folders: tuple[Path, ...]

    async def close(self) -> None:
        """End what is still in it, and remove it: who has been killed may need a moment to be gone."""
        for _ in range(_LOOKS):
            for folder in self.folders:
                _empty(folder)
            if not any(folder.exists() for folder in self.folders):
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _empty(folder: Path) -> None:
    with suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    with suppress(OSError):
        folder.rmdir()


async def make_groups(name: str, cpus: int, memory_mib: int, root: Path) -> Groups:
    """:param root: of `hierarchy`. :raise Failed: `cgroup_unavailable`: without limits it would be no fair container."""
    if (root / "cgroup.controllers").exists():
        wanted = {root: {"cpu.max": f"{cpus * PERIOD_US} {PERIOD_US}", "memory.max": str(memory_mib << 20)}}
    else:
        cpu = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(cpus * PERIOD_US)}
        wanted = {root / "cpu": cpu, root / "memory": {"memory.limit_in_bytes": str(memory_mib << 20)}}
    made: list[Path] = []
    try:
        for parent, limits in wanted.items():
            if (parent / "cgroup.subtree_control").exists():
                (parent / "cgroup.subtree_control").write_text("+cpu +memory")
            folder = parent / name
            folder.mkdir()
            made.append(folder)
            for file, value in limits.items():
                (folder / file).write_text(value)
            if (folder / _REAL_TIME).exists():
                with suppress(OSError):
                    (folder / _REAL_TIME).write_text(str(_REAL_TIME_US))
    except OSError as error:
        await Groups(tuple(made)).close()
        raise Failed(
            "cgroup_unavailable",
            f"no control group can be made for the container ({error}): run as root where {root} may be written, or leave the container out",
        ) from error
    return Groups(tuple(made))
