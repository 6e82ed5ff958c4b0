"""The tiny image for tests: built once by the project's own builder, kept for later runs, rebuilt when the builder changes."""

import asyncio
import hashlib
import os
from pathlib import Path

import houyi.host.build
from houyi.host.build.tiny import build_tiny

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "houyi-tests"


def tiny_path() -> Path:
    """`$HOUYI_TEST_TINY` if set, else the cached image of this very builder, built if it is not there."""
    if given := os.environ.get("HOUYI_TEST_TINY"):
        return Path(given)
    digest = hashlib.sha256()
    room = Path(houyi.host.build.__file__).parent
    for file in sorted(path for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(str(file.relative_to(room)).encode() + b"\0" + file.read_bytes())
    path = CACHE / f"tiny-{digest.hexdigest()[:16]}.qcow2"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        building = path.with_suffix(f".{os.getpid()}")
        try:
            asyncio.run(build_tiny(building, lambda _: None))
            building.rename(path)
        finally:
            building.unlink(missing_ok=True)
    return path
