"""VHDX. Layout: [MS-VHDX]. All numbers are little-endian."""

import struct
import uuid

from houyi.model.errors import Invalid
from houyi.planning.image_formats.window import Window

MAGIC = b"vhdxfile"
_HEADERS_AT = (64 << 10, 128 << 10)
_LOG_GUID_AT = 48
_REGIONS_AT = (192 << 10, 256 << 10)
_TABLE_BYTES = 64 << 10
_REGION = struct.Struct("<16sQII")
"""guid, file offset, length, required."""
_ITEM = struct.Struct("<16sIII4x")
"""guid, offset in the metadata region, length, flags."""
_ENTRIES_MAX = 2047
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_HAS_PARENT = 2


def check(window: Window) -> int:
    """Virtual size in bytes. Both copies of the region table are looked at, since tools may choose either. :raise Invalid: with the reason."""
    for at in _HEADERS_AT:
        header = window.at(at, _LOG_GUID_AT + 16, "header")
        if header.startswith(b"head") and header[_LOG_GUID_AT:].strip(b"\0"):
            raise Invalid("image_dirty", "the VHDX was not closed properly (its log is in use): open and close it where it was made, or convert it there")
    sizes = {_region_table(window, at) for at in _REGIONS_AT}
    if len(sizes) != 1:
        raise Invalid("image_corrupt", "the VHDX's two region tables contradict each other: get another copy")
    return sizes.pop()


def _region_table(window: Window, at: int) -> int:
    table = window.at(at, _TABLE_BYTES, "region table")
    count: int = struct.unpack_from("<I", table, 8)[0]
    if not table.startswith(b"regi") or count > _ENTRIES_MAX:
        raise Invalid("image_corrupt", "the VHDX's region table is damaged: get another copy")
    regions: dict[bytes, tuple[int, int]] = {}
    for number in range(count):
        guid, offset, length, required = _REGION.unpack_from(table, 16 + number * _REGION.size)
        if guid in regions or offset + length > window.size_bytes:
            raise Invalid("image_corrupt", "a region of the VHDX lies beyond its end or is there twice: it was cut off; get a whole copy")
        if guid not in (_METADATA, _BAT) and required & 1:
            raise Invalid("image_feature_unknown", "the VHDX needs a feature that is not known here: convert it with qemu-img")
        regions[guid] = (offset, length)
    if _METADATA not in regions or _BAT not in regions:
        raise Invalid("image_corrupt", "the VHDX lacks its metadata or its block table: get another copy")
    return _metadata(window, *regions[_METADATA])


def _metadata(window: Window, start: int, length: int) -> int:
    if length < _TABLE_BYTES:
        raise Invalid("image_corrupt", "the VHDX's metadata is too short: get another copy")
    table = window.at(start, _TABLE_BYTES, "metadata table")
    count: int = struct.unpack_from("<H", table, 10)[0]
    if not table.startswith(b"metadata") or count > _ENTRIES_MAX:
        raise Invalid("image_corrupt", "the VHDX's metadata table is damaged: get another copy")
    items: dict[bytes, bytes] = {}
    for number in range(count):
        guid, offset, item_bytes, _ = _ITEM.unpack_from(table, 32 + number * _ITEM.size)
        if guid == _PARENT:
            raise Invalid("image_has_backing_file", "the VHDX is a differencing disk that needs its parent: merge it first")
        if guid in items or offset + item_bytes > length:
            raise Invalid("image_corrupt", "the VHDX's metadata contradicts itself: get another copy")
        if guid in (_PARAMETERS, _SIZE):
            items[guid] = window.at(start + offset, 8, "metadata")
    if _PARAMETERS not in items or _SIZE not in items:
        raise Invalid("image_corrupt", "the VHDX does not say how large its disk is: get another copy")
    if struct.unpack_from("<I", items[_PARAMETERS], 4)[0] & _HAS_PARENT:
        raise Invalid("image_has_backing_file", "the VHDX is a differencing disk that needs its parent: merge it first")
    size: int = struct.unpack("<Q", items[_SIZE])[0]
    return size
