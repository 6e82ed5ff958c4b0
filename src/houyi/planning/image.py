"""What is in a disk image: decided from its bytes alone, before any tool opens it.

An image is hostile until it has passed `inspect`. Tools guess formats and follow what headers say, which is how images have read other files of
the host (backing files, data files, VMDK extents). So the format is decided here, once; it is stored, and named to every tool from then on.

Raw is what remains when nothing else is recognised: without being told (`given` None) only if it looks like a disk, that is if it has a
partition table (MBR or GPT) or is an ISO 9660 file system; if told, whatever it holds but the magic of another format that tools would see in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from houyi.model.errors import Invalid, TooLarge
from houyi.model.image import DiskFormat
from houyi.planning.image_formats import qcow2, vhd, vhdx, vmdk
from houyi.planning.image_formats.window import READ_BYTES_MAX, Read, Window

__all__ = ["READ_BYTES_MAX", "ImageFound", "inspect", "inspect_overlay"]

_HEAD_BYTES = 4096
_ISO_AT = 32769
_KNOWN: tuple[tuple[DiskFormat, tuple[bytes, ...]], ...] = (
    (DiskFormat.QCOW2, (qcow2.MAGIC,)),
    (DiskFormat.VMDK, (vmdk.MAGIC, vmdk.MAGIC_ESX, vmdk.MAGIC_DESCRIPTOR)),
    (DiskFormat.VHDX, (vhdx.MAGIC,)),
    (DiskFormat.VHD, (vhd.COOKIE,)),
)
_CHECK: dict[DiskFormat, Callable[[Window], int]] = {
    DiskFormat.QCOW2: qcow2.check,
    DiskFormat.VMDK: vmdk.check,
    DiskFormat.VHD: vhd.check,
    DiskFormat.VHDX: vhdx.check,
}
_OTHER: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"LUKS\xba\xbe", "image_encrypted", "is a LUKS container: decrypt it first"),
    (0, b"QED\0", "image_format_unknown", "is of format QED: convert it with `qemu-img convert -O qcow2`"),
    (64, b"\x7f\x10\xda\xbe", "image_format_unknown", "is of format VDI: convert it with `qemu-img convert -O qcow2`"),
    (0, b"WithoutFreeSpace", "image_format_unknown", "is of a Parallels format: convert it with `qemu-img convert -O qcow2`"),
    (0, b"WithouFreSpacExt", "image_format_unknown", "is of a Parallels format: convert it with `qemu-img convert -O qcow2`"),
    (0, b"Bochs Virtual HD Image", "image_format_unknown", "is of format Bochs: convert it with `qemu-img convert -O qcow2`"),
    (0, b"#!/bin/sh\n#V2.0 Format", "image_format_unknown", "is of format cloop: unpack it"),
    (0, b"\x1f\x8b", "image_compressed", "is compressed with gzip: decompress it first"),
    (0, b"\xfd7zXZ\0", "image_compressed", "is compressed with xz: decompress it first"),
    (0, b"\x28\xb5\x2f\xfd", "image_compressed", "is compressed with zstd: decompress it first"),
    (0, b"BZh", "image_compressed", "is compressed with bzip2: decompress it first"),
    (0, b"PK\x03\x04", "image_compressed", "is a ZIP archive: unpack it first"),
    (257, b"ustar", "image_compressed", "is a tar archive (an OVA?): unpack the disk from it first"),
)
"""Offset, magic, code, words: what tools would recognise, or what people upload by mistake."""
_DMG_TRAILER = b"koly"
_DMG_TRAILER_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFound:
    format: DiskFormat
    virtual_size_bytes: int
    os_hint: str
    """'iso' for a CD image, else empty: no more can be said honestly without reading file systems."""


def inspect(read: Read, size_bytes: int, given: DiskFormat | None, max_virtual_bytes: int) -> ImageFound:
    """Look at an image of `size_bytes` through `read(offset, length)`; at most READ_BYTES_MAX bytes are read.

    `given` is the format that the user named, None if none; `max_virtual_bytes` limits the disk it describes, as a guard against tiny files that unpack to petabytes.

    :raise Invalid: `image_empty`, `image_format_unknown`, `image_format_differs`, `image_compressed`, `image_corrupt`, `image_dirty`, `image_encrypted`,
        `image_has_backing_file`, `image_has_data_file`, `image_has_extents`, `image_has_snapshots`, `image_has_bitmaps`, `image_feature_unknown`.
    :raise TooLarge: `image_too_large`.
    """
    if size_bytes <= 0:
        raise Invalid("image_empty", "the image has no content: upload it again")
    window = Window(read, size_bytes)
    head = window.upto(0, _HEAD_BYTES)
    tail = window.upto(max(0, size_bytes - vhd.FOOTER_BYTES), vhd.FOOTER_BYTES)
    found = _format(window, head, tail, given)
    if given is not None and given is not found:
        raise Invalid("image_format_differs", f"the image was said to be {given}, but its content is {found}: name the right format, or none")
    virtual = _CHECK[found](window) if found in _CHECK else -(-size_bytes // 512) * 512
    if virtual <= 0:
        raise Invalid("image_empty", "the disk in the image has no size: get another copy")
    if virtual > max_virtual_bytes:
        raise TooLarge("image_too_large", f"the disk in the image has {virtual} bytes, at most {max_virtual_bytes} are allowed", limit_bytes=max_virtual_bytes)
    return ImageFound(format=found, virtual_size_bytes=virtual, os_hint="iso" if found is DiskFormat.RAW and _is_iso(window) else "")


def inspect_overlay(read: Read, size_bytes: int) -> int:
    """Look at a QCOW2 that stands on another file, before that file's name is replaced. :return: its virtual size in bytes.

    :raise Invalid: as `inspect`, but for the backing file.
    """
    window = Window(read, size_bytes)
    if window.upto(0, len(qcow2.MAGIC)) != qcow2.MAGIC:
        raise Invalid("image_format_differs", "it is no QCOW2")
    return qcow2.check_overlay(window)


def _format(window: Window, head: bytes, tail: bytes, given: DiskFormat | None) -> DiskFormat:
    for form, magics in _KNOWN:
        if head.startswith(magics):
            return form
    # QEMU looks for a descriptor also behind comments and empty lines.
    if head.lstrip(b" \t\r\n").startswith(b"#") and b"disk descriptorfile" in head.lower():
        return DiskFormat.VMDK
    if tail.startswith(vhd.COOKIE) or tail[1:].startswith(vhd.COOKIE):
        return DiskFormat.VHD
    for offset, magic, code, words in _OTHER:
        if head[offset:].startswith(magic):
            raise Invalid(code, f"the image {words}")
    if tail.startswith(_DMG_TRAILER) and len(tail) == _DMG_TRAILER_BYTES:
        raise Invalid("image_format_unknown", "the image is of format DMG: convert it with `qemu-img convert -O qcow2`")
    if given is None and not (head[510:512] == b"\x55\xaa" or head[512:520] == b"EFI PART" or _is_iso(window)):
        raise Invalid(
            "image_format_unknown",
            "the image is of no known format, and no disk with a partition table: if it is a raw disk all the same, say so with format=raw",
        )
    return DiskFormat.RAW


def _is_iso(window: Window) -> bool:
    return window.upto(_ISO_AT, 5) == b"CD001"
