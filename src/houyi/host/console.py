"""The Consoles port: serial and VNC over QEMU's own UNIX sockets, and the console's log. libvirt is not needed.

QEMU serves one client of the serial socket at a time, so while somebody looks there is one connection a VM, and what comes is given to
every viewer. A viewer that does not read is dropped behind by BACKLOG_BYTES and then loses the oldest bytes, never slowing the others.
"""

import asyncio
import contextlib
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from houyi.host.disk.files import Files
from houyi.host.passages import Channel
from houyi.model.errors import Conflict, Failed
from houyi.model.ids import VmId

LOG_BYTES = 1 << 20
"""As the port promises. virtlogd keeps more (2 MiB and three older files by its defaults)."""
READ_BYTES = 1 << 16
BACKLOG_BYTES = 1 << 20
"""Most that one viewer may hold back."""


class RealConsoles:
    """`owners` are the uids whose sockets are trusted: QEMU's user and ourselves."""

    def __init__(self, files: Files, owners: Callable[[], frozenset[int]]) -> None:
        self._files, self._owners = files, owners
        self._lines: dict[VmId, _Line] = {}
        self._locks: dict[VmId, asyncio.Lock] = {}

    async def serial(self, vm_id: VmId) -> Channel:
        async with self._locks.setdefault(vm_id, asyncio.Lock()):
            line = self._lines.get(vm_id)
            if line is None or line.ended:
                reader, writer = await _connect(self._files.serial_socket(vm_id), self._owners())
                line = self._lines[vm_id] = _Line(reader, writer, lambda: self._lines.pop(vm_id, None))
            return line.view()

    async def vnc(self, vm_id: VmId) -> Channel:
        try:
            reader, writer = await _connect(self._files.vnc_socket(vm_id), self._owners())
        except Conflict:
            if await _listens(self._files.serial_socket(vm_id), self._owners()):
                raise Conflict("no_video", "this VM has no display: set video and start it again") from None
            raise

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        return Channel(read=lambda: _read(reader), write=write, close=lambda: _shut(writer))

    async def log(self, vm_id: VmId) -> bytes:
        return await asyncio.to_thread(newest, self._files.console_log(vm_id))

    async def close(self) -> None:
        await asyncio.gather(*(line.end() for line in list(self._lines.values())))


class _Line:
    """The one connection to a VM's serial socket, and its viewers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forget: Callable[[], object]) -> None:
        self._reader, self._writer, self._forget = reader, writer, forget
        self._viewers: set[_Viewer] = set()
        self.ended = False
        self._task = asyncio.create_task(self._pump())

    def view(self) -> Channel:
        viewer = _Viewer()
        self._viewers.add(viewer)

        async def close() -> None:
            viewer.finish()
            self._viewers.discard(viewer)
            if not self._viewers:
                await self.end()

        return Channel(read=viewer.read, write=self._write, close=close)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _pump(self) -> None:
        try:
            while data := await _read(self._reader):
                for viewer in self._viewers:
                    viewer.put(data)
        finally:
            self.ended = True
            self._forget()
            for viewer in self._viewers:
                viewer.finish()
            self._writer.close()

    async def end(self) -> None:
        self.ended = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _Viewer:
    """A bounded buffer between the line and one viewer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._finished = False

    def put(self, data: bytes) -> None:
        self._buffer += data
        del self._buffer[:-BACKLOG_BYTES]
        self._more.set()

    def finish(self) -> None:
        self._finished = True
        self._more.set()

    async def read(self) -> bytes:
        while not self._buffer:
            if self._finished:
                return b""
            self._more.clear()
            await self._more.wait()
        data = bytes(self._buffer[:READ_BYTES])
        del self._buffer[: len(data)]
        return data


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except ConnectionError:
        return b""


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _listens(path: Path, owners: frozenset[int]) -> bool:
    try:
        _, writer = await _connect(path, owners)
    except (Conflict, Failed):
        return False
    await _shut(writer)
    return True


async def _connect(path: Path, owners: frozenset[int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket in a folder that QEMU's user can write to.

    The file is opened once and looked at before it is used, since a subverted QEMU could put a link to another service's socket there
    (libvirt's own, say), and we are root.

    :raise Conflict: `not_running`. :raise Failed: `socket_foreign`.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _not_running() from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in owners:
            raise Failed("socket_foreign", f"{path} is not a socket of this VM's QEMU: look who put it there, then stop and start the VM")
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, f"/proc/self/fd/{fd}")
            return await asyncio.open_unix_connection(sock=connected)
        except OSError as error:
            connected.close()
            raise _not_running() from error
        except BaseException:
            connected.close()
            raise
    finally:
        os.close(fd)


def _not_running() -> Conflict:
    return Conflict("not_running", "the VM is not running on this host: start it first")


def newest(path: Path) -> bytes:
    """The newest LOG_BYTES of a log that virtlogd rotates: `path`, then path.0 (newer) to path.N (oldest). Blocking."""
    kept: list[bytes] = []
    left = LOG_BYTES
    for file in (path, *_rotated(path)):
        if left <= 0:
            break
        try:
            with file.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - left))
                kept.append(log.read(left))
        except FileNotFoundError:
            continue  # rotated away, or never written
        left -= len(kept[-1])
    return b"".join(reversed(kept))


def _rotated(path: Path) -> list[Path]:
    pattern = re.compile(re.escape(path.name) + r"\.(\d+)")
    numbers = sorted(int(match[1]) for entry in path.parent.glob(f"{path.name}.*") if (match := pattern.fullmatch(entry.name)))
    return [path.with_name(f"{path.name}.{number}") for number in numbers]
