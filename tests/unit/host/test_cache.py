"""The image cache: formats that are converted, content that is not what it was said to be, and what stays behind (nothing)."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from houyi.host.disk import cache
from houyi.host.disk.files import Files, Owner
from houyi.model.errors import Failed
from houyi.model.ids import ImageId
from houyi.model.image import DesiredImage, DiskFormat

ID = ImageId("88888888-2222-4333-8444-555555555555")
MIB = 1 << 20
US = Owner(os.getuid(), os.getgid())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "state", tmp_path / "run")
    made.images.mkdir(parents=True)
    return made


def image_of(content: bytes, stored: DiskFormat, virtual: int) -> DesiredImage:
    return DesiredImage(id=ID, format=stored, size_bytes=len(content), virtual_size_bytes=virtual, sha256=hashlib.sha256(content).hexdigest())


async def fetch(files: Files, image: DesiredImage, content: bytes) -> None:
    async def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    await cache.fetch(files, image, read, lambda _: None, US, "")


def qemu_image(tmp_path: Path, qemu_format: str, *options: str) -> tuple[bytes, bytes, int]:
    """(file, its disk's first MiB, virtual size)."""
    raw, path = tmp_path / "raw", tmp_path / f"image.{qemu_format}"
    data = os.urandom(MIB)
    raw.write_bytes(data + bytes(3 * MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", qemu_format, *options, str(raw), str(path)], check=True)
    told = json.loads(subprocess.run(["qemu-img", "info", "--output=json", "-f", qemu_format, str(path)], check=True, capture_output=True).stdout)
    return path.read_bytes(), data, told["virtual-size"]


@pytest.mark.parametrize(
    ("qemu_format", "options", "stored"),
    [("vmdk", ("-o", "subformat=streamOptimized"), DiskFormat.VMDK), ("vpc", (), DiskFormat.VHD), ("vhdx", (), DiskFormat.VHDX)],
)
def test_other_formats_become_qcow2(files: Files, tmp_path: Path, qemu_format: str, options: tuple[str, ...], stored: DiskFormat) -> None:
    import asyncio

    content, data, virtual = qemu_image(tmp_path, qemu_format, *options)
    asyncio.run(fetch(files, image_of(content, stored, virtual), content))
    (whole,) = files.images.iterdir()
    assert whole.name == f"{ID}.qcow2"
    assert whole.stat().st_mode & 0o777 == 0o444
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(whole), str(back)], check=True)
    assert back.read_bytes()[:MIB] == data


async def test_zeros_stay_holes(files: Files) -> None:
    content = bytes(16 * MIB) + b"end".ljust(512, b"\0")
    await fetch(files, image_of(content, DiskFormat.RAW, len(content)), content)
    whole = files.image(ID, DiskFormat.RAW)
    assert whole.read_bytes() == content
    assert whole.stat().st_blocks * 512 < 2 * MIB


async def test_what_its_record_does_not_say_is_refused(files: Files) -> None:
    """The digest is right, but the bytes are a QCOW2 with a backing file."""
    backing = b"/etc/passwd"
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + (112).to_bytes(8, "big") + len(backing).to_bytes(4, "big") + (16).to_bytes(4, "big") + MIB.to_bytes(8, "big")
    content = header.ljust(112, b"\0") + backing.ljust(65536, b"\0")
    for stored in (DiskFormat.QCOW2, DiskFormat.RAW):
        with pytest.raises(Failed) as caught:
            await fetch(files, image_of(content, stored, MIB), content)
        assert caught.value.code == "image_refused"
        assert list(files.images.iterdir()) == []


async def test_a_longer_leftover_is_thrown_away(files: Files) -> None:
    content = b"x" * 4096
    files.part(ID).write_bytes(b"y" * 9000)
    await fetch(files, image_of(content, DiskFormat.RAW, 4096), content)
    assert files.image(ID, DiskFormat.RAW).read_bytes() == content
