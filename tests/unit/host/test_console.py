"""Consoles against sockets of our own: fan-out, slow viewers, and sockets that are not QEMU's."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from houyi.host.console import BACKLOG_BYTES, LOG_BYTES, RealConsoles, newest
from houyi.host.disk.files import Files
from houyi.model.errors import Conflict, Failed
from houyi.model.ids import VmId

ID = VmId("11111111-2222-4333-8444-555555555555")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with tempfile.TemporaryDirectory(prefix="hy-") as short:  # socket paths are limited to 107 bytes
        made = Files(tmp_path, Path(short))
        made.sockets.mkdir()
        yield made


async def talker(files: Files, data: bytes) -> asyncio.AbstractServer:
    """A guest that says `data` to whoever connects."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(talk, files.serial_socket(ID))


async def test_a_viewer_that_does_not_read_loses_the_oldest(files: Files) -> None:
    said = b"old" + b"." * (2 * BACKLOG_BYTES) + b"new"
    server = await talker(files, said)
    consoles = RealConsoles(files, lambda: frozenset({os.geteuid()}))
    lazy, keen = await consoles.serial(ID), await consoles.serial(ID)
    got = b""
    while data := await keen.read():
        got += data
    assert got.endswith(b"new")
    left = b""
    while data := await lazy.read():
        left += data
    assert len(left) == BACKLOG_BYTES
    assert left.endswith(b"new")
    await consoles.close()
    server.close()


async def test_sockets_of_others_are_refused(files: Files) -> None:
    server = await talker(files, b"x")
    consoles = RealConsoles(files, lambda: frozenset({os.geteuid() + 1}))
    with pytest.raises(Failed) as caught:
        await consoles.serial(ID)
    assert caught.value.code == "socket_foreign"
    files.serial_socket(ID).rename(files.run / "moved")
    files.serial_socket(ID).symlink_to(files.run / "moved")
    with pytest.raises(Failed) as caught:
        await RealConsoles(files, lambda: frozenset({os.geteuid()})).serial(ID)
    assert caught.value.code == "socket_foreign"
    server.close()


async def test_a_dead_socket_is_a_guest_that_does_not_run(files: Files) -> None:
    server = await talker(files, b"x")
    server.close()
    await server.wait_closed()
    with pytest.raises(Conflict) as caught:
        await RealConsoles(files, lambda: frozenset({os.geteuid()})).serial(ID)
    assert caught.value.code == "not_running"


def test_newest_reads_across_rotated_files_in_order(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert newest(log) == b""
    (tmp_path / "console.log.1").write_bytes(b"1" * LOG_BYTES)
    (tmp_path / "console.log.0").write_bytes(b"0" * 100)
    (tmp_path / "console.log.other").write_bytes(b"no")
    log.write_bytes(b"now")
    found = newest(log)
    assert len(found) == LOG_BYTES
    assert found.endswith(b"1" + b"0" * 100 + b"now")
