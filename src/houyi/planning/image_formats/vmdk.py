"""VMDK, only where everything is in one file: monolithicSparse and streamOptimized.

Layout: "VMware Virtual Disk Format 5.0". The descriptor is text and may name any file of the host as an extent or a parent (a known way to read
files of others), so it is parsed strictly: what is not known to be harmless is refused. All numbers are little-endian; units are sectors of 512 bytes.
"""

import re
import struct

from houyi.model.errors import Invalid
from houyi.planning.image_formats.window import Window

MAGIC = b"KDMV"
MAGIC_ESX = b"COWD"
MAGIC_DESCRIPTOR = b"# Disk DescriptorFile"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
"""magic, version, flags, capacity, grain, descriptor offset, its size, entries a table, redundant directory, directory, overhead, unclean, line ends, compression."""
_SECTOR = 512
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_DESCRIPTOR_BYTES_MAX = 64 << 10
_DIRECTORY_BYTES_MAX = 32 << 20
_EXTENT = re.compile(r"(?:RW|RDONLY|NOACCESS)\s")
_EXTENT_SELF = re.compile(r'RW\s+(?P<sectors>[0-9]{1,18})\s+SPARSE\s+"[^"/\\:]{1,255}"')
_SETTING = re.compile(r'(?P<key>[A-Za-z][A-Za-z0-9._]*)\s*=\s*(?P<value>"[^"]*"|[^\s"]+)')
_TYPES = frozenset({"monolithicsparse", "streamoptimized"})


def check(window: Window) -> int:
    """Virtual size in bytes. :raise Invalid: with the reason."""
    magic = window.upto(0, 4)
    if magic != MAGIC:
        raise Invalid(
            "image_has_extents",
            "the VMDK's data is in other files, or it is of a kind for ESX hosts: export it as one file (monolithicSparse or streamOptimized)",
        )
    _, version, _, capacity, grain, at, sectors, entries, _, directory, _, _, _, compression = _header(window, 0)
    if directory == _AT_END:
        # streamOptimized: the true header is the footer, three sectors before the end
        _, _, _, footer_capacity, footer_grain, _, _, footer_entries, _, directory, *_ = _header(window, window.size_bytes - 2 * _SECTOR)
        if (footer_capacity, footer_grain, footer_entries) != (capacity, grain, entries):
            raise Invalid("image_corrupt", "the VMDK's footer contradicts its header: get another copy")
    if version not in (1, 2, 3) or compression > 1:
        raise Invalid("image_format_unknown", f"VMDK version {version} with compression {compression} is not supported: convert it with qemu-img")
    if capacity == 0:
        raise Invalid("image_has_extents", "the VMDK has no data of its own: export it as one file (monolithicSparse or streamOptimized)")
    if not 8 <= grain <= 0x2000 or grain & (grain - 1) or not 1 <= entries <= 512:
        raise Invalid("image_corrupt", "the VMDK's grain sizes make no sense: get another copy")
    directory_bytes = -(-capacity // (grain * entries)) * 4
    if directory_bytes > _DIRECTORY_BYTES_MAX or directory * _SECTOR + directory_bytes > window.size_bytes:
        raise Invalid("image_corrupt", "the VMDK's grain directory lies beyond its end: it was cut off; get a whole copy")
    if not at or not 0 < sectors * _SECTOR <= _DESCRIPTOR_BYTES_MAX:
        raise Invalid("image_corrupt", "the VMDK has no embedded descriptor of sensible size: convert it with qemu-img")
    _descriptor(window.at(at * _SECTOR, sectors * _SECTOR, "descriptor"), capacity)
    return int(capacity) * _SECTOR


def _header(window: Window, offset: int) -> tuple[int, ...]:
    fields = _HEADER.unpack(window.at(offset, _HEADER.size, "header"))
    if fields[0] != MAGIC:
        raise Invalid("image_corrupt", "the VMDK's footer is missing: it was cut off; get a whole copy")
    return fields


def _descriptor(data: bytes, capacity: int) -> None:
    text, _, rest = data.partition(b"\0")
    if rest.strip(b"\0"):
        raise Invalid("image_corrupt", "something is hidden behind the VMDK's descriptor: convert it with qemu-img")
    extents = 0
    settings: dict[str, str] = {}
    for line in map(str.strip, re.split(r"[\r\n]+", text.decode("latin-1"))):
        if not line or line.startswith("#"):
            continue
        if _EXTENT.match(line):
            match = _EXTENT_SELF.fullmatch(line)
            extents += 1
            if match is None or int(match["sectors"]) != capacity or extents > 1:
                raise Invalid(
                    "image_has_extents", "the VMDK's descriptor names other files as its data: export it as one file (monolithicSparse or streamOptimized)"
                )
        elif (match := _SETTING.fullmatch(line)) is not None:
            settings[match["key"].lower()] = match["value"].strip('"').lower()
        else:
            raise Invalid("image_corrupt", f"the VMDK's descriptor has a line that is not understood ({line[:60]!r}): convert it with qemu-img")
    if "parentfilenamehint" in settings or settings.get("parentcid", "ffffffff") != "ffffffff":
        raise Invalid("image_has_backing_file", "the VMDK is a snapshot that needs its parent: export the whole disk")
    if extents != 1 or settings.get("createtype") not in _TYPES:
        raise Invalid(
            "image_has_extents", f"VMDKs of type {settings.get('createtype', '')[:40]!r} are in several files: export it as monolithicSparse or streamOptimized"
        )
