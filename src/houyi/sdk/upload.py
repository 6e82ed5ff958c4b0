"""Sending an image's content: in one piece, or from where an earlier attempt stopped. Decides; the clients send."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from houyi.model.errors import Failed, Invalid

CHUNK_BYTES = 1 << 20
RESUMES = 5
"""Times that an upload goes on after it broke off, before it is left to the caller."""

Told = Callable[[int, int], None]
"""(bytes sent, bytes in all)."""


def untold(sent: int, total: int) -> None:
    """Tells nobody."""


def size_of(file: Path) -> int:
    """:raise Failed: `file_unreadable`. :raise Invalid: `image_empty`."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise Failed("file_unreadable", f"cannot read {file}: {error.strerror}") from None
    if not size:
        raise Invalid("image_empty", f"{file} is empty: give a disk image")
    return size


@dataclass(frozen=True, slots=True)
class Part:
    """What is still to be sent of a file."""

    file: Path
    offset: int
    total: int

    @classmethod
    def of(cls, file: Path, received_bytes: int) -> "Part":
        """From where the server has it. All of it again when it has as much as that: what it has was not accepted."""
        total = size_of(file)
        return cls(file, received_bytes if received_bytes < total else 0, total)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.total - self.offset),
            "Content-Range": f"bytes {self.offset}-{self.total - 1}/{self.total}",
        }

    def chunks(self, told: Told = untold) -> Iterator[bytes]:
        """No more than was announced, even if the file grows meanwhile. :raise Failed: `file_unreadable`."""
        try:
            with self.file.open("rb") as source:
                source.seek(self.offset)
                sent = self.offset
                while data := source.read(min(CHUNK_BYTES, self.total - sent)):
                    yield data
                    sent += len(data)
                    told(sent, self.total)
        except OSError as error:
            raise Failed("file_unreadable", f"cannot read {self.file}: {error.strerror}") from None


def broken(reason: str) -> Failed:
    return Failed("upload_broken", f"the upload broke off ({reason}): upload again to go on where it stopped")
