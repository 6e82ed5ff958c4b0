"""The Passages port: this host's libvirt, as far as the other end of a move may reach it."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from houyi.host import shell
from houyi.host.domxml.context import domain_name
from houyi.host.libvirt.calls.passage import Passage, Promise
from houyi.host.libvirt.calls.witness import Witness
from houyi.host.libvirt.connection import away
from houyi.host.passages import Channel
from houyi.model.errors import Invalid
from houyi.model.ids import VmId
from houyi.model.migration import Landing, Terms

READ_BYTES = 1 << 16
QEMU_PORTS = range(49152, 49216)
"""Where libvirt has an arriving QEMU listen, for memory and for disks (qemu.conf: migration_port_min and _max)."""
SEVER_SECONDS = 10.0
SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
"""Where libvirtd listens, or the QEMU driver's own daemon where libvirt is split into several."""


class LibvirtPassages:
    """`uri` is this host's connection (agent.libvirt_uri)."""

    def __init__(self, uri: str, sockets: Sequence[Path] = SOCKETS) -> None:
        named = parse_qs(urlsplit(uri).query).get("socket")
        self._sockets = tuple(Path(path) for path in named) if named else tuple(sockets)

    async def open(self, vm_id: VmId, landing: Landing, terms: Terms) -> Channel:
        if not landing.domain_xml:
            raise Invalid("landing_empty", "a move without a domain has no calls to make")
        passage = Passage(
            Promise(
                domain_name=domain_name(vm_id),
                domain_xml=landing.domain_xml,
                encrypted=terms.encrypted,
                copies_disk=landing.copies_disk,
                postcopy=terms.postcopy,
            )
        )
        socket = next((path for path in self._sockets if path.exists()), self._sockets[0])
        try:
            reader, writer = await asyncio.open_unix_connection(socket)
        except OSError as error:
            raise away(f"{socket}: {error.strerror}") from error

        async def read() -> bytes:
            while data := await reader.read(READ_BYTES):
                if passed := passage.from_libvirt(data):
                    return passed
            if not passage.left:
                raise away("it ended the connection in the middle of a move")
            return b""

        async def write(data: bytes) -> None:
            writer.write(passage.to_libvirt(data))
            await writer.drain()

        async def close() -> None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        return Channel(read=read, write=write, close=close)

    async def sever(self, address: str) -> None:
        low, high = str(QEMU_PORTS.start), str(QEMU_PORTS.stop - 1)
        await shell.run(["ss", "-K", "-n", "-t", "dst", address, "and", "dport", ">=", low, "and", "dport", "<=", high], timeout=SEVER_SECONDS)

    def witness(self) -> Witness:
        return Witness()
