"""A disk with this Houyi and its Python, for a machine to mount: made anew when something of it has changed."""

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import houyi
from houyi.host.shell import run

LABEL = "houyi-software"
SPARE_SHARE = 1.3
"""Of what the files take: the file system's own tables."""
SECONDS = 300.0
_LEFT_OUT = frozenset({"test", "tests", "idlelib", "share", "include", "matplotlib"})
"""Folders that no agent needs."""
_COMPILED = "__pycache__"
"""Comes along, since compiling takes long under emulation; says nothing about whether anything has changed."""


def paths() -> tuple[str, ...]:
    """What the agent needs of this machine's files that no Debian package brings: seen at the same places in the machine."""
    found = [Path(sys.prefix), Path(sys.base_prefix), *(Path(path).resolve().parent for path in houyi.__path__)]
    wanted = dict.fromkeys(str(path) for path in found if path != Path("/usr"))
    return tuple(path for path in wanted if not any(Path(path).is_relative_to(other) for other in wanted if other != path))


async def software_disk(cache: Path) -> Path:
    """The image file, among those kept in `cache`. Older ones are removed. :raise Failed: `program_failed`."""
    files = await asyncio.to_thread(_files)
    target = cache / f"software-{_digest(files)}.raw"
    if target.exists():
        return target
    for old in cache.glob("software-*.raw"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="software-", dir=cache) as name:
        folder = Path(name)
        size = await asyncio.to_thread(_copy, files, folder / "root")
        own = [str(folder / "root" / Path(path).resolve().relative_to("/")) for path in houyi.__path__]
        await run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *own], timeout=SECONDS)
        raw = folder / "disk.raw"
        with raw.open("wb") as file:
            file.truncate(int(size * SPARE_SHARE) + (64 << 20))
        await run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", LABEL, "-d", str(folder / "root"), str(raw)], timeout=SECONDS)
        raw.rename(target)
    return target


def _files() -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    for top in paths():
        for folder, folders, names in os.walk(top):
            foreign = {"site-packages"} if sys.prefix != sys.base_prefix and Path(top) == Path(sys.base_prefix) else set()  # of an environment that is not ours
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT | foreign)
            links = [name for name in folders if Path(folder, name).is_symlink()]
            found += [(path, path.lstat()) for path in (Path(folder, name) for name in sorted([*names, *links]) if not name.endswith(".a"))]
    return found


def _digest(files: list[tuple[Path, os.stat_result]]) -> str:
    lines = (f"{path} {about.st_size} {about.st_mtime_ns}\n" for path, about in files if path.parent.name != _COMPILED)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _copy(files: list[tuple[Path, os.stat_result]], root: Path) -> int:
    """Links as they are; of files another name for the same, where that can be. Bytes that it takes, each file at least a block."""
    size = 0
    for path, about in files:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            try:
                os.link(path, target)
            except OSError:  # another file system
                shutil.copy2(path, target)
        size += (about.st_size + 4095) // 4096 * 4096
    return size
