"""Bounded reading of hostile bytes."""

from collections.abc import Callable

from houyi.model.errors import Invalid

READ_BYTES_MAX = 4 << 20
"""All that may be read of one image, whatever its header says. The largest honest header needs 1 MiB for an L1 table and a few tables of 64 KiB."""

Read = Callable[[int, int], bytes]
"""(offset, length) -> that many bytes, fewer only at the end."""


class Window:
    """A file of `size_bytes`, of which at most READ_BYTES_MAX are read."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self._read = read
        self._left = READ_BYTES_MAX
        self.size_bytes = size_bytes

    def at(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes. :raise Invalid: `image_corrupt` when they are not all in the file, or when too much would be read."""
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise Invalid("image_corrupt", f"the image's {what} lies beyond its end: it was cut off or made up; get a whole copy")
        data = self.upto(offset, length)
        if len(data) != length:
            raise Invalid("image_corrupt", f"the image ends within its {what}: it was cut off; get a whole copy")
        return data

    def upto(self, offset: int, length: int) -> bytes:
        """As many of `length` bytes as there are. :raise Invalid: `image_corrupt` when too much would be read."""
        length = max(0, min(length, self.size_bytes - offset))
        self._left -= length
        if self._left < 0:
            raise Invalid("image_corrupt", f"the image's tables are larger than {READ_BYTES_MAX >> 20} MiB: convert it with qemu-img and try again")
        return self._read(offset, length)[:length] if length else b""
