"""Files of stopped VMs on their way: read without their holes at one host, and looked at before they are believed at the other.

What comes from another host is not trusted more than what a user uploads: a disk has to be a QCOW2 of the size that the VM asked for. The name of the file
that it says it stands on is never followed, but replaced by the one of this host.
"""

import asyncio
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from houyi.host import shell
from houyi.host.disk.files import NVRAM, Files, Owner, disk_full_told, settle, write_at
from houyi.host.port import BLOCK_BYTES, Parcel
from houyi.model.errors import Failed, Invalid
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm
from houyi.planning.image import inspect_overlay

CHECK_SECONDS = 3600.0
_LEAKED = 3
"""`qemu-img check` found space that nothing refers to, which harms nobody."""


class RealCarrier:
    """`user` is who opens what has come (empty: ourselves)."""

    def __init__(self, files: Files, owner: Owner, user: str) -> None:
        self._files, self._owner, self._user = files, owner, user
        self._locks: dict[VmId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def parcels(self, vm_id: VmId) -> tuple[Parcel, ...]:
        found = (None if self._files.disk(vm_id).is_symlink() else _parcel("disk", self._files.disk(vm_id)), _parcel("nvram", self._files.vm(vm_id) / NVRAM))
        return tuple(parcel for parcel in found if parcel is not None)

    async def blocks(self, vm_id: VmId, name: str, start: int) -> AsyncIterator[tuple[int, bytes]]:
        found = _blocks(self._path(vm_id, name), start)
        while (block := await asyncio.to_thread(next, found, None)) is not None:
            yield block

    async def digest(self, vm_id: VmId, name: str) -> str:
        return await asyncio.to_thread(_digest, self._path(vm_id, name))

    async def arrived(self, vm_id: VmId, name: str) -> int:
        part = self._part(vm_id, name)
        return part.stat().st_size // BLOCK_BYTES * BLOCK_BYTES if part.exists() else 0

    async def put(self, vm_id: VmId, name: str, offset: int, data: bytes) -> None:
        async with self._locks[vm_id]:
            with disk_full_told(self._part(vm_id, name)):
                await asyncio.to_thread(_put, self._part(vm_id, name), offset, data)

    async def accept(self, vm: DesiredVm, parcel: Parcel, sha256: str) -> None:
        part = self._part(vm.id, parcel.name)
        async with self._locks[vm.id]:
            try:
                with disk_full_told(part):
                    await asyncio.to_thread(_complete, part, parcel.size_bytes)
                    if await asyncio.to_thread(_digest, part) != sha256:
                        raise Failed("carried_differs", f"the {parcel.name} of VM {vm.name} did not arrive as it was sent: move the VM again")
                    if parcel.name == "disk":
                        await self._accept_disk(vm, part)
                    else:
                        await asyncio.to_thread(settle, part, self._path(vm.id, parcel.name), mode=0o600, owner=self._owner)
            finally:
                part.unlink(missing_ok=True)
                shutil.rmtree(self._files.vm(vm.id) / "arriving", ignore_errors=True)

    async def _accept_disk(self, vm: DesiredVm, part: Path) -> None:
        """In a folder of its own, as QEMU's user: nobody has looked at it before."""
        size = vm.spec.disk_gib << 30
        base = self._files.base(vm.id)
        if base is None or self._files.disk(vm.id).is_symlink():
            raise Failed(
                "carried_refused", f"VM {vm.name} has no image on this host that its disk could stand on, or a disk in a shared folder: move the VM again"
            )
        await asyncio.to_thread(_inspect, part, vm, size)
        room = self._files.vm(vm.id) / "arriving"
        room.mkdir(mode=0o700, exist_ok=True)
        disk = room / "disk"
        part.rename(disk)
        if self._user:
            os.chown(disk, self._owner.uid, self._owner.gid)
            os.chown(room, self._owner.uid, self._owner.gid)
        disk.chmod(0o600)
        await self._qemu_img(["rebase", "-q", "-u", "-f", "qcow2", "-F", base.suffix[1:], "-b", str(base), str(disk)], size)
        checked = await self._qemu_img(["check", "-q", "-f", "qcow2", str(disk)], size, check=False)
        if checked.code not in (0, _LEAKED) or disk.is_symlink():
            raise Failed("carried_refused", f"the disk of VM {vm.name} is not whole: look at it with `qemu-img check` at its source")
        await asyncio.to_thread(settle, disk, self._files.disk(vm.id), mode=0o600, owner=self._owner)

    async def _qemu_img(self, argv: list[str], size: int, *, check: bool = True) -> shell.Output:
        limits = shell.Limits(memory_bytes=2 << 30, cpu_seconds=int(CHECK_SECONDS), file_bytes=size + size // 64 + (16 << 20))
        return await shell.run(["qemu-img", *argv], timeout=CHECK_SECONDS, user=self._user, limits=limits, check=check)

    def _path(self, vm_id: VmId, name: str) -> Path:
        """:raise Failed: `carried_refused`: no file of that name is carried."""
        match name:
            case "disk":
                return self._files.disk(vm_id)
            case "nvram":
                return self._files.vm(vm_id) / NVRAM
            case _:
                raise Failed("carried_refused", "only the disk and the NVRAM of a VM go along with it")

    def _part(self, vm_id: VmId, name: str) -> Path:
        path = self._path(vm_id, name)
        return path.with_name(f"{path.name}.part")


def _parcel(name: Literal["disk", "nvram"], path: Path) -> Parcel | None:
    if not path.exists():
        return None
    seen = path.stat()
    return Parcel(name=name, size_bytes=seen.st_size, stored_bytes=min(seen.st_blocks * 512, seen.st_size))


def _blocks(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, data) of what is not zero, from the block of `start` on; holes are not read."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        offset = start // BLOCK_BYTES * BLOCK_BYTES
        while offset < size:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA) // BLOCK_BYTES * BLOCK_BYTES
            except OSError:  # ENXIO: only a hole is left
                return
            data = os.pread(file.fileno(), BLOCK_BYTES, offset)
            if data.count(0) != len(data):
                yield offset, data
            offset += BLOCK_BYTES


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for offset, data in _blocks(path):
        digest.update(offset.to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _put(part: Path, offset: int, data: bytes) -> None:
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_at(fd, data, offset)
    finally:
        os.close(fd)


def _complete(part: Path, size: int) -> None:
    """The last hole, which no block has brought."""
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _inspect(part: Path, vm: DesiredVm, size: int) -> None:
    """:raise Failed: `carried_refused`."""
    with part.open("rb") as file:
        try:
            found = inspect_overlay(lambda offset, length: os.pread(file.fileno(), length, offset), os.fstat(file.fileno()).st_size)
        except Invalid as error:
            raise Failed("carried_refused", f"the disk of VM {vm.name} was refused by this host: {error.detail}", cause=error.code) from error
    if found != size:
        raise Failed("carried_refused", f"the disk of VM {vm.name} has {found} bytes, not {size}: it is not this VM's")
