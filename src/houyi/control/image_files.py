"""The files of images: `state_dir`/images/<id>.part while one is received, then <id>, complete and never changed again.

A part is locked (flock) by whoever writes it, so that an upload, an import and another server on this machine never mix; the lock ends with its
process, and stays with the file when that becomes the content: so whoever finds content that the record does not know yet waits for its maker, or
is the first after the maker's death. What a record says is to be read again once the lock is held: whoever had it before may have changed it.
<id>.part.tag is what the web server called the version (ETag) that the part is of: without it an interrupted download starts over.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
from pathlib import Path

from houyi.base.config import Settings
from houyi.model.errors import Conflict, Failed, NotFound
from houyi.model.ids import ImageId
from houyi.model.image import ImageState

_HASH_BYTES = 4 << 20


def folder(settings: Settings) -> Path:
    """Where images are; made if absent."""
    path = settings.state_dir / "images"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def content_path(settings: Settings, image_id: ImageId) -> Path:
    return folder(settings) / image_id


def part_path(settings: Settings, image_id: ImageId) -> Path:
    return folder(settings) / f"{image_id}.part"


def remove(settings: Settings, image_id: ImageId) -> None:
    """All files of an image. None there: nothing."""
    base = folder(settings)
    for name in (image_id, f"{image_id}.part", f"{image_id}.part.tag"):
        (base / name).unlink(missing_ok=True)


def kept(settings: Settings) -> frozenset[ImageId]:
    """Ids of which there is any file."""
    return frozenset(ImageId(path.name.partition(".")[0]) for path in folder(settings).iterdir())


class Part:
    """A part that is being written, with the digest of what is in it. Open with `Part.open`; always `close` it."""

    def __init__(self, settings: Settings, image_id: ImageId, fd: int, *, kept: bool) -> None:
        self._settings = settings
        self._id = image_id
        self._fd = fd
        self.kept = kept
        """Whether it is the content already."""
        self._digest = hashlib.sha256()
        self.size = os.fstat(fd).st_size
        self._hashed = 0

    @classmethod
    def open(cls, settings: Settings, image_id: ImageId) -> "Part":
        """The part, made if there is none; or the content, if it was kept already. :raise Conflict: `image_busy`: somebody is writing it."""
        kept = content_path(settings, image_id).exists()
        path = content_path(settings, image_id) if kept else part_path(settings, image_id)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if kept else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        part = cls(settings, image_id, fd, kept=kept)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not kept and content_path(settings, image_id).exists():  # its maker has just moved it: what we have is a new, empty one
                part.drop()
                raise BlockingIOError
        except BlockingIOError as error:
            part.close()
            raise Conflict("image_busy", "the image is being received already: wait for that to end") from error
        return part

    def take_back(self) -> None:
        """Content that the record knows nothing of (an older store was restored) becomes a part again, to be gone on with."""
        if self.kept:
            content_path(self._settings, self._id).replace(part_path(self._settings, self._id))
            os.fchmod(self._fd, 0o600)
            locked = self._fd
            self._fd = os.open(part_path(self._settings, self._id), os.O_RDWR | os.O_CLOEXEC)
            os.close(locked)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.kept = False

    @property
    def tag(self) -> str:
        path = self._tag_path
        return path.read_text() if path.exists() else ""

    @tag.setter
    def tag(self, value: str) -> None:
        self._tag_path.write_text(value)

    @property
    def _tag_path(self) -> Path:
        return folder(self._settings) / f"{self._id}.part.tag"

    async def restart(self) -> None:
        """Forget everything received."""
        os.ftruncate(self._fd, 0)
        self.size = self._hashed = 0
        self._digest = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """Append. :raise Failed: `disk_full`; what was received before stays."""
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        self._hash_rest()
        stat = os.fstatvfs(self._fd)
        if stat.f_bavail * stat.f_frsize < (self._settings.server.disk_kept_mib << 20) + len(data):
            raise self._full()
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._fd, memoryview(data)[done:], self.size + done)
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            raise Failed("image_not_written", f"the image could not be written ({error.strerror}): look at the server's disk") from error
        self.size += len(data)
        self._digest.update(data)
        self._hashed = self.size

    def _full(self) -> Failed:
        kept = self._settings.server.disk_kept_mib
        return Failed(
            "disk_full", f"the server's disk has no room for the image ({kept} MiB are kept free): make room in state_dir, then go on where it stopped"
        )

    def _hash_rest(self) -> None:
        """What an earlier process received has to go into the digest as well."""
        while self._hashed < self.size:
            data = os.pread(self._fd, min(_HASH_BYTES, self.size - self._hashed), self._hashed)
            self._digest.update(data)
            self._hashed += len(data)

    async def digest(self) -> str:
        """SHA-256 in hex of everything in the part."""
        await asyncio.to_thread(self._hash_rest)
        return self._digest.hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    async def keep(self) -> None:
        """Make it the image's content, durably, in one step. :raise NotFound: `image_not_found`: the image was deleted meanwhile."""
        await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        os.fchmod(self._fd, 0o400)
        os.fsync(self._fd)
        if not self.kept:
            try:
                part_path(self._settings, self._id).replace(content_path(self._settings, self._id))
            except FileNotFoundError:
                raise NotFound("image_not_found", "the image was deleted meanwhile: make another") from None
            self.kept = True
        self._tag_path.unlink(missing_ok=True)
        directory = os.open(folder(self._settings), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def leave(self, state: ImageState) -> None:
        """For who comes too late, now that the record says `state`: what nobody will go on with must not stay behind."""
        if not self.kept and state in (ImageState.AVAILABLE, ImageState.REFUSED, ImageState.FAILED):
            self.drop()

    def drop(self) -> None:
        """Remove it: it will never be used."""
        path = content_path(self._settings, self._id) if self.kept else part_path(self._settings, self._id)
        path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._fd)


class ImageReader:
    """Content of an available image: `await reader(offset, length)`; `close` it. Goes on working when the image is deleted meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __call__(self, offset: int, length: int) -> bytes:
        """Fewer bytes only at the end."""
        return await asyncio.to_thread(os.pread, self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


def open_content(settings: Settings, image_id: ImageId) -> ImageReader:
    """:raise NotFound: `image_content_not_found`."""
    try:
        return ImageReader(os.open(content_path(settings, image_id), os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise NotFound("image_content_not_found", "the image's content is not on this server: import it again") from error
