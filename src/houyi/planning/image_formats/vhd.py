"""VHD (QEMU: 'vpc'), fixed and dynamic. Layout: "Virtual Hard Disk Image Format Specification" 1.0. All numbers are big-endian."""

import struct

from houyi.model.errors import Invalid
from houyi.planning.image_formats.window import Window

COOKIE = b"conectix"
FOOTER_BYTES = 512
_FOOTER = struct.Struct(">8sIIQI4sIIQQHBBII16sB")
"""cookie, features, version, header offset, time, creator, its version, its OS, original size, size, cylinders, heads, sectors, type, checksum, uuid, saved state."""
_CHECKSUM_AT = 64
_HEADER = struct.Struct(">8sQQIIII16s")
"""cookie, data offset, table offset, version, entries, block bytes, checksum, parent's uuid."""
_HEADER_BYTES = 1024
_HEADER_CHECKSUM_AT = 36
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_GEOMETRY_MAX = 65535 * 16 * 255
"""Sectors of the largest geometry; tools write it to say that only the size field counts."""
_ENTRIES_MAX = 1 << 20
"""2 TiB, the format's limit, in blocks of 2 MiB."""


def check(window: Window) -> int:
    """Virtual size in bytes: the larger of what the size field and the geometry say, since tools disagree about which counts. :raise Invalid: with the reason."""
    last = window.at(window.size_bytes - FOOTER_BYTES, FOOTER_BYTES, "footer")
    first = window.at(0, FOOTER_BYTES, "header")
    footer = first if first.startswith(COOKIE) else last
    fields = _FOOTER.unpack_from(footer)
    _, _, _, header_offset, _, _, _, _, _, size, cylinders, heads, sectors, kind, checksum, *_ = fields
    if kind == _DIFFERENCING:
        raise Invalid("image_has_backing_file", "the VHD is a differencing disk that needs its parent: merge it first")
    if kind not in (_FIXED, _DYNAMIC):
        raise Invalid("image_format_unknown", f"VHD disk type {kind} is not supported: make it fixed or dynamic")
    if checksum != _sum(footer, _CHECKSUM_AT):
        raise Invalid("image_corrupt", "the VHD's checksum is wrong: get another copy")
    geometry = cylinders * heads * sectors
    virtual: int = size if geometry == _GEOMETRY_MAX else max(size, geometry * 512)
    if kind == _FIXED:
        if first.startswith(COOKIE) or not last.startswith(COOKIE) or size + FOOTER_BYTES > window.size_bytes:
            raise Invalid("image_corrupt", "the VHD is smaller than the disk in it: it was cut off; get a whole copy")
        return virtual
    if not first.startswith(COOKIE) or not last.startswith(COOKIE) or _FOOTER.unpack_from(last)[13] != kind:
        raise Invalid("image_corrupt", "the VHD lacks its footer, or the footer contradicts the copy at its start: it was cut off; get a whole copy")
    _dynamic(window, header_offset, virtual)
    return virtual


def _dynamic(window: Window, offset: int, virtual: int) -> None:
    header = window.at(offset, _HEADER_BYTES, "dynamic header")
    cookie, _, table, _, entries, block, checksum, parent = _HEADER.unpack_from(header)
    if cookie != b"cxsparse" or checksum != _sum(header, _HEADER_CHECKSUM_AT):
        raise Invalid("image_corrupt", "the VHD's dynamic header is damaged: get another copy")
    if parent.strip(b"\0"):
        raise Invalid("image_has_backing_file", "the VHD names a parent: merge it first")
    if not 512 <= block <= 1 << 28 or block & (block - 1) or entries > _ENTRIES_MAX or entries * block < virtual - block:
        raise Invalid("image_corrupt", "the VHD's block table does not fit its size: get another copy")
    if table + entries * 4 > window.size_bytes:
        raise Invalid("image_corrupt", "the VHD's block table lies beyond its end: it was cut off; get a whole copy")


def _sum(data: bytes, checksum_at: int) -> int:
    """One's complement of the sum of all bytes, the checksum's own taken as 0."""
    return ~(sum(data) - sum(data[checksum_at : checksum_at + 4])) & 0xFFFF_FFFF
