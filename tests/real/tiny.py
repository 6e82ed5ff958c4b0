"""Images for tests: built once by the project's own builders, kept for later runs, rebuilt when the builders change."""

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

import houyi.host.build
from houyi.host.build.bench import TREE, build_bench
from houyi.host.build.tiny import NOTHING, More, build_tiny

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "houyi-tests"


def _digest() -> str:
    """Of the builders."""
    digest = hashlib.sha256()
    room = Path(houyi.host.build.__file__).parent
    for file in sorted(path for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(str(file.relative_to(room)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def tiny_path() -> Path:
    """`$HOUYI_TEST_TINY` if set, else the cached image of this very builder, built if it is not there."""
    if given := os.environ.get("HOUYI_TEST_TINY"):
        return Path(given)
    return _built("tiny", NOTHING)


def logging_path() -> Path:
    """The same with the kernel that Debian has for machines: its kernel for clouds has no driver for machine checks, and so logs none."""
    return _built("logging", More(kernel="linux-image-amd64"))


def _built(name: str, more: More) -> Path:
    path = CACHE / f"{name}-{_digest()}.qcow2"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        building = path.with_suffix(f".{os.getpid()}")
        try:
            asyncio.run(build_tiny(building, lambda _: None, more=more))
            building.rename(path)
        finally:
            building.unlink(missing_ok=True)
    return path


def bench_folder() -> Path:
    """A folder with the image `bench` (bench.qcow2) and its tree, likewise."""
    folder = CACHE / f"bench-{_digest()}"
    if not folder.exists():
        building = CACHE / f".bench-{os.getpid()}"
        building.mkdir(parents=True)
        try:
            asyncio.run(build_bench(building / "bench.qcow2", lambda _: None, cache=None, tree=building / TREE))
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder
