"""The image cache: fetched piece by piece, verified, inspected, and only then an image.

    absent -> <id>.part (grows; survives a restart) -> digest and inspection -> converted if need be -> <id>.qcow2 | <id>.raw (0444)

What does not pass is removed at once. Nothing opens an image before its digest is that of the order and its inspection has passed.
"""

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

from houyi.host import shell
from houyi.host.disk.files import Files, Owner, check_space, disk_full_told, settle, write_at
from houyi.host.port import Progress, ReadImage
from houyi.model.errors import Failed, HouyiError, Invalid
from houyi.model.image import DesiredImage, DiskFormat
from houyi.planning.image import inspect

CHUNK_BYTES = 1 << 20
"""Largest piece asked for: what one message of the link carries."""
HEADROOM_BYTES = 64 << 20
"""Stays free on the file system beside a fetched image, so that running VMs and our ledger can still write."""
CONVERT_SECONDS = 3600.0
_QEMU_NAME = {DiskFormat.QCOW2: "qcow2", DiskFormat.RAW: "raw", DiskFormat.VMDK: "vmdk", DiskFormat.VHD: "vpc", DiskFormat.VHDX: "vhdx"}
_USED_AS_IS = frozenset({DiskFormat.QCOW2, DiskFormat.RAW})
_FETCHED_SHARE = 0.9
"""Of the progress bar; the rest is verifying and converting."""


async def fetch(files: Files, image: DesiredImage, read: ReadImage, progress: Progress, owner: Owner, user: str) -> None:
    """See Disks.fetch_image. `user` runs the conversion, for root drops to it; empty: as ourselves."""
    if files.cached(image.id):
        progress(1.0)
        return
    part = files.part(image.id)
    try:
        with disk_full_told(part):
            await _receive(part, image, read, progress)
            await asyncio.to_thread(_verify, part, image)
            if image.format in _USED_AS_IS:
                await asyncio.to_thread(settle, part, files.image(image.id, image.format), mode=0o444)
            else:
                await _convert(files, image, owner, user)
    except (Failed, Invalid):
        part.unlink(missing_ok=True)
        raise
    progress(1.0)


async def _receive(part: Path, image: DesiredImage, read: ReadImage, progress: Progress) -> None:
    """Append what is missing. Blocks of zeros become holes. What is there already is trusted only through the digest of the whole."""
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        offset = os.fstat(fd).st_size
        if offset > image.size_bytes:
            offset = 0
            os.ftruncate(fd, 0)
        check_space(part, image.size_bytes - offset + HEADROOM_BYTES)
        while offset < image.size_bytes:
            data = await read(offset, min(CHUNK_BYTES, image.size_bytes - offset))
            if not data:
                break
            await asyncio.to_thread(_put, fd, data, offset)
            offset += len(data)
            progress(_FETCHED_SHARE * offset / image.size_bytes)
    finally:
        os.close(fd)


def _put(fd: int, data: bytes, offset: int) -> None:
    if data.count(0) == len(data):
        os.ftruncate(fd, offset + len(data))
        return
    write_at(fd, data, offset)


def _verify(part: Path, image: DesiredImage) -> None:
    """Digest first, then what the bytes are. :raise Failed: `image_differs`, `image_refused`."""
    with part.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if size != image.size_bytes or digest != image.sha256:
            raise Failed("image_differs", f"image {image.id} arrived with {size} bytes and another SHA-256 than registered: import it again")
        try:
            found = inspect(lambda offset, length: os.pread(file.fileno(), length, offset), size, image.format, max(image.virtual_size_bytes, 1))
        except HouyiError as error:
            raise Failed("image_refused", f"image {image.id} was refused by this host: {error.detail}", cause=error.code) from error
    if found.format is not image.format or found.virtual_size_bytes != image.virtual_size_bytes:
        raise Failed("image_refused", f"image {image.id} is not what its record says ({found.format}, {found.virtual_size_bytes} bytes): import it again")


async def _convert(files: Files, image: DesiredImage, owner: Owner, user: str) -> None:
    """Rewrite as QCOW2, as QEMU's user, in a folder of its own, with bounded memory, time and size."""
    part, final = files.part(image.id), files.image(image.id, DiskFormat.QCOW2)
    room = files.images / f"{image.id}.converting"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(mode=0o700)
    try:
        source, target = room / "source", room / "target"
        os.link(part, source)
        source.chmod(0o444)
        if user:
            os.chown(room, owner.uid, owner.gid)
        await shell.run(
            ["qemu-img", "convert", "-f", _QEMU_NAME[image.format], "-O", "qcow2", str(source), str(target)],
            timeout=CONVERT_SECONDS,
            user=user,
            limits=shell.Limits(
                memory_bytes=2 << 30,
                cpu_seconds=int(CONVERT_SECONDS),
                # all of the virtual disk, and the tables that QCOW2 adds (under 1 %)
                file_bytes=image.virtual_size_bytes + image.virtual_size_bytes // 64 + (16 << 20),
            ),
        )
        if user:
            os.chown(target, 0, 0, follow_symlinks=False)
        if target.is_symlink():  # only a subverted qemu-img could do that
            raise Failed("image_refused", f"image {image.id} could not be converted safely: do not use it")
        await asyncio.to_thread(settle, target, final, mode=0o444)
        part.unlink()
    finally:
        shutil.rmtree(room, ignore_errors=True)
