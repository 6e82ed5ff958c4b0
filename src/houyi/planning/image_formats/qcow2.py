"""QCOW2, versions 2 and 3. Layout: docs/interop/qcow2.rst of QEMU. All numbers are big-endian."""

import struct

from houyi.model.errors import Invalid
from houyi.planning.image_formats.window import Window

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
"""magic, version, backing offset, backing size, cluster bits, size, encryption, L1 entries, L1 offset, refcount offset, refcount clusters, snapshots, snapshots' offset."""
_HEADER_3 = struct.Struct(">QQQII")
"""Incompatible, compatible and autoclear features, refcount order, header length."""
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2
_END, _BACKING_FORMAT, _BITMAPS, _LUKS, _DATA_FILE_NAME = 0, 0xE2792ACA, 0x23852875, 0x0537BE77, 0x44415441
_L1_BYTES_MAX = 1 << 20
"""With clusters of 64 KiB 128 entries map 64 GiB; this is room for 64 TiB, or for 256 GiB with clusters of 4 KiB."""
_REFCOUNT_TABLE_BYTES_MAX = 8 << 20
"""As QEMU has it."""
_EXTENSION_BYTES_MAX = 64 << 10
_L1_OFFSET = 0x00FF_FFFF_FFFF_FE00


def check(window: Window) -> int:
    """Virtual size in bytes. :raise Invalid: with the reason."""
    return _checked(window, overlay=False)


def check_overlay(window: Window) -> int:
    """The same of one that stands on another file, which is not looked at. :raise Invalid: with the reason."""
    return _checked(window, overlay=True)


def _checked(window: Window, *, overlay: bool) -> int:
    fields = _HEADER.unpack(window.at(0, _HEADER.size, "header"))
    _, version, backing_offset, backing_bytes, cluster_bits, size, encryption, l1_entries, l1_offset, refcount_offset, refcount_clusters, snapshots, _ = fields
    if version not in (2, 3):
        raise Invalid("image_format_unknown", f"QCOW version {version} is not supported: convert it with `qemu-img convert -O qcow2`")
    if (backing_offset or backing_bytes) and not overlay:
        raise Invalid("image_has_backing_file", "the image needs another file (a backing file): flatten it with `qemu-img convert -O qcow2`")
    if encryption:
        raise Invalid("image_encrypted", "the image is encrypted: decrypt it with `qemu-img convert` first")
    if not 9 <= cluster_bits <= 21:
        raise Invalid("image_corrupt", f"clusters of 2^{cluster_bits} bytes do not exist in QCOW2")
    if snapshots:
        raise Invalid("image_has_snapshots", "the image holds internal snapshots: make one without them with `qemu-img convert -O qcow2`")
    incompatible, length = (0, 72) if version == 2 else _version_3(window, cluster_bits)
    _extensions(window, length, cluster_bits, overlay=overlay)
    entry_bytes = 16 if incompatible & _EXTENDED_L2 else 8
    _tables(window, 1 << cluster_bits, entry_bytes, size, (l1_entries, l1_offset), (refcount_clusters, refcount_offset))
    return int(size)


def _version_3(window: Window, cluster_bits: int) -> tuple[int, int]:
    incompatible, _, _, refcount_order, length = _HEADER_3.unpack(window.at(72, _HEADER_3.size, "header"))
    if incompatible & _DATA_FILE:
        raise Invalid("image_has_data_file", "the image keeps its data in another file: make it whole with `qemu-img convert -O qcow2`")
    if incompatible & _CORRUPT:
        raise Invalid("image_corrupt", "the image is marked as corrupt: repair it with `qemu-img check -r all`, or get another copy")
    if incompatible & _DIRTY:
        raise Invalid("image_dirty", "the image was not closed properly: repair it with `qemu-img check -r all` first")
    if unknown := incompatible & ~_KNOWN:
        raise Invalid(
            "image_feature_unknown", f"the image needs features that are not known here (bits {unknown:#x}): convert it with `qemu-img convert -O qcow2`"
        )
    if not 104 <= length <= 1 << cluster_bits or length % 8 or refcount_order > 6:
        raise Invalid("image_corrupt", "the image's header contradicts itself: get another copy")
    compression = window.at(104, 1, "header")[0] if length > 104 else 0
    if compression > 1 or bool(compression) != bool(incompatible & _COMPRESSION):
        raise Invalid("image_feature_unknown", f"compression type {compression} is not known here: convert the image with `qemu-img convert -O qcow2`")
    return incompatible, length


def _extensions(window: Window, start: int, cluster_bits: int, *, overlay: bool) -> None:
    """Header extensions: type, length, data padded to 8 bytes, up to type 0 or the first cluster's end."""
    end = min(1 << cluster_bits, window.size_bytes)
    area = window.upto(start, min(end - start, _EXTENSION_BYTES_MAX))
    at = 0
    while at + 8 <= len(area):
        kind, length = struct.unpack_from(">II", area, at)
        if kind == _END:
            return
        if kind == _BACKING_FORMAT and not overlay:
            raise Invalid("image_has_backing_file", "the image names the format of a backing file: flatten it with `qemu-img convert -O qcow2`")
        if kind == _DATA_FILE_NAME:
            raise Invalid("image_has_data_file", "the image names an external data file: make it whole with `qemu-img convert -O qcow2`")
        if kind == _LUKS:
            raise Invalid("image_encrypted", "the image is encrypted: decrypt it with `qemu-img convert` first")
        if kind == _BITMAPS:
            raise Invalid("image_has_bitmaps", "the image holds dirty bitmaps: make one without them with `qemu-img convert -O qcow2`")
        if at + 8 + length > len(area):
            raise Invalid("image_corrupt", "a header extension of the image is longer than its place: get another copy")
        at += 8 + (length + 7) // 8 * 8
    if end - start > _EXTENSION_BYTES_MAX and at + 8 > len(area):
        raise Invalid(
            "image_corrupt", f"the image has more than {_EXTENSION_BYTES_MAX >> 10} KiB of header extensions: convert it with `qemu-img convert -O qcow2`"
        )


def _tables(window: Window, cluster: int, entry_bytes: int, size: int, l1: tuple[int, int], refcounts: tuple[int, int]) -> None:
    """(entries, offset) of the L1 table and (clusters, offset) of the refcount table: in the file, large enough, not larger than sense."""
    l1_entries, l1_offset = l1
    mapped = cluster // entry_bytes * cluster
    if l1_entries * 8 > _L1_BYTES_MAX:
        raise Invalid("image_corrupt", f"the image's L1 table has {l1_entries} entries, too many for any image: convert it with larger clusters")
    if l1_entries * mapped < size or l1_offset % cluster or (l1_entries and not l1_offset):
        raise Invalid("image_corrupt", "the image's L1 table does not fit its size: get another copy")
    refcount_clusters, refcount_offset = refcounts
    if not refcount_offset or refcount_offset % cluster or not 0 < refcount_clusters * cluster <= _REFCOUNT_TABLE_BYTES_MAX:
        raise Invalid("image_corrupt", "the image's refcount table is missing or too large: repair it with `qemu-img check -r all`")
    if refcount_offset + refcount_clusters * cluster > window.size_bytes + cluster:
        raise Invalid("image_corrupt", "the image's refcount table lies beyond its end: it was cut off; get a whole copy")
    table = window.at(l1_offset, l1_entries * 8, "L1 table") if l1_entries else b""
    for (entry,) in struct.iter_unpack(">Q", table):
        offset = entry & _L1_OFFSET
        if offset % cluster or offset >= window.size_bytes:
            raise Invalid("image_corrupt", "an L2 table of the image lies beyond its end: it was cut off; get a whole copy")
