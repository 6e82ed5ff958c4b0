"""The built system of machines, kept from lab to lab: built when it is missing or when its recipe has changed."""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from houyi.host.build import machine, suites

RECIPE = Path(machine.__file__)


@dataclass(frozen=True, slots=True)
class MachineImage:
    """A folder as `build_machine` makes it, and beside it snapshots of machines that have just come up."""

    path: Path

    @property
    def disk(self) -> Path:
        return self.path / "root.qcow2"

    @property
    def kernel(self) -> Path:
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.path / "initrd.img"

    @property
    def key(self) -> Path:
        return self.path / "key"

    @property
    def known_hosts(self) -> Path:
        return self.path / "known_hosts"

    def snapshot(self, words: tuple[str, ...], qemu: str) -> Path:
        """The disk of a machine that was started by these words with this QEMU, with its state in it: any other could not take it up."""
        return self.path / f"ready-{_digest(*words, qemu)}.qcow2"


def recipe() -> str:
    """Changes with whatever a built system depends on, but for the versions of packages."""
    return _digest(suites.own(), RECIPE.read_text(), *(path.read_text() for path in sorted(RECIPE.with_name("machine_files").iterdir())))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


async def have_image(cache: Path, tell: Callable[[str], None]) -> MachineImage:
    """Build it if need be (minutes; whoever asks meanwhile waits). :raise Failed: as `build_machine`."""
    folder = cache / f"machine-{recipe()}"
    async with _only_one(cache):
        if not folder.is_dir():
            tell("building the system of lab machines from this machine's Debian packages: once, and it takes some minutes")
            told = 0

            def progress(share: float) -> None:
                nonlocal told
                if int(share * 10) > told:
                    told = int(share * 10)
                    tell(f"building: {told * 10} %")

            await machine.build_machine(folder, progress, cache=cache)
    return MachineImage(folder)


@asynccontextmanager
async def _only_one(cache: Path) -> AsyncIterator[None]:
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(cache / "machine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
