"""The real door: one TCP port with mutual TLS 1.3, open only while a VM is to come.

A peer is whom its certificate names (the URI of a host, of our CA), not where it comes from. It has to be the source of a move that is admitted; then it
gets libvirt's calls of that move (filtered by the machine's Passages) or may say GO.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from houyi.agent.door import Admission, Way
from houyi.agent.identity import Identity
from houyi.agent.lines import swallow
from houyi.base.config import AgentSettings
from houyi.base.log import get_log
from houyi.host.passages import SETTLE_SECONDS, CallsWitness, Passages
from houyi.model.errors import Failed, Forbidden, HouyiError, Unavailable
from houyi.model.host import HOST_URI
from houyi.model.ids import HostId, MigrationId
from houyi.model.migration import Landing
from houyi.wire.door import (
    BLOCK_MAX_BYTES,
    MAX_BYTES,
    PROTOCOL,
    DoorMessage,
    Entered,
    Knock,
    Said,
    TurnedAway,
    Use,
    decode_answer,
    decode_knock,
    decode_said,
    encode,
)

log = get_log(__name__)

DIAL_SECONDS = 10.0
"""To connect and shake hands: one that takes longer is not there. libvirt itself has no limit while it opens a connection."""
KNOCK_SECONDS = 5.0
"""From the handshake to the knock: who is silent is let go."""
GO_SECONDS = 20.0
"""For the answer to GO. After it, whether it went is not known here; the server finds out from the destination."""
READ_BYTES = 1 << 16
_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 4), (socket.TCP_USER_TIMEOUT, 12_000))
"""A peer that cannot be reached is noticed within 13 s, whether anything is under way to it (the last, in ms) or not. QEMU's streams to it hold up the guest until then."""


class NetLine:
    """Messages over a connection that has passed a door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, message: DoorMessage) -> None:
        try:
            await _send(self._writer, message)
        except OSError as error:
            raise _lost(error) from error

    async def hear(self) -> Said:
        try:
            return decode_said(await _receive(self._reader, BLOCK_MAX_BYTES))
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise _lost(error) from error


def _lost(error: Exception) -> Unavailable:
    return Unavailable("door_lost", f"the connection between the two hosts was lost ({str(error) or type(error).__name__})")


class NetDoor:
    """`folder` is where sockets of outgoing moves are made."""

    def __init__(self, identity: Identity, settings: AgentSettings, passages: Passages, folder: Path) -> None:
        self._identity, self._settings, self._passages, self._folder = identity, settings, passages, folder
        self._admitted: dict[MigrationId, Admission] = {}
        self._inside: dict[MigrationId, set[asyncio.Task[None]]] = {}
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()

    async def admit(self, admission: Admission) -> tuple[str, int]:
        async with self._opening:
            address = self._settings.door_address or await asyncio.to_thread(_way_to, self._settings.server_host, self._settings.server_port)
            if self._server is None:
                self._server = await self._listen(self._settings.door_host or address)
            self._admitted[admission.move] = admission
            return address, int(self._server.sockets[0].getsockname()[1])

    async def shut(self, move: MigrationId) -> None:
        async with self._opening:
            self._admitted.pop(move, None)
            inside = self._inside.pop(move, set()) - {asyncio.current_task()}
            for task in inside:
                task.cancel()
            await asyncio.gather(*inside, return_exceptions=True)
            if not self._admitted and self._server is not None:
                self._server.close()
                self._server = None

    async def close(self) -> None:
        """When the agent ends."""
        for move in list(self._admitted):
            await self.shut(move)

    @asynccontextmanager
    async def way(self, move: MigrationId, peer: HostId, landing: Landing) -> AsyncIterator[Way]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        way = Way(self._folder / f"{move}.sock")
        way.path.unlink(missing_ok=True)
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._carry(way, move, peer, landing, reader, writer), name=f"way-{move}"))

        server = await asyncio.start_unix_server(connected, way.path)
        try:
            way.path.chmod(0o600)
            yield way
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            way.path.unlink(missing_ok=True)

    async def go(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        async with self._through(move, peer, landing, "go", GO_SECONDS):
            return

    @asynccontextmanager
    async def line(self, move: MigrationId, peer: HostId, landing: Landing, use: Literal["files", "line"] = "files") -> AsyncIterator[NetLine]:
        async with self._through(move, peer, landing, use, DIAL_SECONDS) as (reader, writer):
            yield NetLine(reader, writer)

    async def _listen(self, host: str) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self._identity.ca_path)
            context.load_cert_chain(self._identity.certificate_path, self._identity.key_path)
            return await asyncio.start_server(self._visited, host, self._settings.door_port, ssl=context, ssl_handshake_timeout=DIAL_SECONDS)
        except OSError as error:
            where = f"{host} port {self._settings.door_port}"
            raise Failed("door_closed", f"the door for moves cannot listen on {where}: correct agent.door_host, door_port or door_address ({error})") from error

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One visitor, whose certificate is of our CA."""
        _keep_alive(writer)
        try:
            async with asyncio.timeout(KNOCK_SECONDS):
                knock = decode_knock(await _receive(reader))
            admission = self._admission(_peer(writer), knock)
            task = asyncio.current_task()
            assert task is not None
            self._inside.setdefault(knock.move, set()).add(task)
            try:
                await self._serve(admission, knock, reader, writer)
            finally:
                self._inside.get(knock.move, set()).discard(task)
        except HouyiError as refused:
            log.warning("door_refused", code=refused.code, detail=refused.detail)
            with contextlib.suppress(OSError):
                await _send(writer, TurnedAway(problem=refused.problem))
        except (OSError, TimeoutError, EOFError, msgspec.DecodeError) as error:
            log.info("door_left", error=str(error) or type(error).__name__)
        finally:
            await _close(writer)

    def _admission(self, peer: HostId, knock: Knock) -> Admission:
        """The same words for every reason: a host learns nothing of moves that are not its own."""
        admission = self._admitted.get(knock.move)
        if admission is None or admission.peer != peer or knock.protocol != PROTOCOL:
            raise Forbidden("door_shut", f"this door is not open for host {peer} and that move: the move was withdrawn, or its orders have changed")
        return admission

    async def _serve(self, admission: Admission, knock: Knock, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if knock.use == "go":
            await admission.go()
            await _send(writer, Entered())
            return
        if knock.use == "files":
            await _send(writer, Entered())
            await admission.files(NetLine(reader, writer))
            return
        if knock.use == "line":
            await _send(writer, Entered())
            await swallow(NetLine(reader, writer))
            return
        channel = await admission.libvirt()
        try:
            await _send(writer, Entered())
            await _both(_pump(lambda: reader.read(READ_BYTES), channel.write), _pump(channel.read, lambda data: _write(writer, data)))
        except HouyiError as ended:
            log.error("door_broke", move=admission.move, peer=admission.peer, code=ended.code, detail=ended.detail)
            admission.broke(ended)
        finally:
            await channel.close()

    async def _carry(self, way: Way, move: MigrationId, peer: HostId, landing: Landing, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of our libvirt, through the destination's door."""
        witness = self._passages.witness()
        try:
            await self._carry_through(way, move, peer, landing, witness, reader, writer)
            if witness.waits:
                await self._hold(way, move, witness, reader, writer)
            elif witness.several and not witness.left:
                await asyncio.sleep(SETTLE_SECONDS)
        finally:
            await _close(writer)

    async def _carry_through(
        self, way: Way, move: MigrationId, peer: HostId, landing: Landing, witness: CallsWitness, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Until either end closes."""
        try:
            async with self._through(move, peer, landing, "libvirt", DIAL_SECONDS) as (far_reader, far_writer):

                async def there(data: bytes) -> None:
                    if meanwhile := witness.asked(data):
                        await _write(writer, meanwhile)
                    if witness.gives_up:
                        await asyncio.sleep(SETTLE_SECONDS)
                    await _write(far_writer, data)

                async def back(data: bytes) -> None:
                    arrived = witness.answered(data)
                    await _write(writer, data)
                    if arrived:
                        way.arrived.set()

                async def hear() -> None:
                    await _pump(lambda: far_reader.read(READ_BYTES), back)
                    if not witness.left:
                        raise Unavailable(
                            "door_lost", f"host {peer} ended its libvirt's connection in the middle of the move: look at its agent and its libvirtd"
                        )

                await _both(_pump(lambda: reader.read(READ_BYTES), there), hear())
        except HouyiError as error:
            way.problem = error
            log.warning("way_closed", move=move, code=error.code, detail=error.detail)
        except OSError as error:
            way.problem = _lost(error)
            log.warning("way_broken", move=move, error=str(error))
            way.lost.set()

    async def _hold(self, way: Way, move: MigrationId, witness: CallsWitness, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The door is gone while our libvirt waits to hear whether the guest runs there: it waits until the way is given up, with what others testify."""
        way.problem = Unavailable("door_lost", "the connection was lost while the guest was being handed over: whether it runs there is asked of its host")
        log.error("way_held", move=move)
        with contextlib.suppress(OSError):
            await _pump(lambda: reader.read(READ_BYTES), lambda data: _write(writer, witness.asked(data)))

    @asynccontextmanager
    async def _through(
        self, move: MigrationId, peer: HostId, landing: Landing, use: Use, seconds: float
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Inside the peer's door. :raise Unavailable: `door_unreachable`. :raise Forbidden: `door_strange`: it is another host's. :raise HouyiError: as it answers."""
        context = self._identity.context()
        context.check_hostname = False  # the host's own name is looked at instead
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(landing.address, landing.port, ssl=context)
                _keep_alive(writer)
                if (found := _peer(writer)) != peer:
                    raise Forbidden("door_strange", f"at {landing.address} port {landing.port} is the door of host {found}: look at agent.door_address of both")
                await _send(writer, Knock(protocol=PROTOCOL, move=move, use=use))
                answer = decode_answer(await _receive(reader))
        except (OSError, TimeoutError, EOFError, msgspec.DecodeError) as error:
            await _close(writer)
            why = str(error) or type(error).__name__
            raise Unavailable("door_unreachable", f"the door of host {peer} at {landing.address} port {landing.port} does not answer ({why})") from error
        except BaseException:
            await _close(writer)
            raise
        try:
            if isinstance(answer, TurnedAway):
                raise Forbidden(answer.problem.code, answer.problem.detail)
            yield reader, writer
        finally:
            await _close(writer)


def _way_to(host: str, port: int) -> str:
    """Our own address on the way there; nothing is sent. :raise Failed: `door_closed`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port or 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Failed("door_closed", f"there is no way to {host} to learn this host's address from: set agent.door_address ({error})") from error


def _peer(writer: asyncio.StreamWriter) -> HostId:
    """The host that the verified certificate names. :raise Forbidden: `certificate_strange`."""
    certificate = writer.get_extra_info("ssl_object").getpeercert() or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(names) != 1 or not names[0].startswith(HOST_URI):
        raise Forbidden("certificate_strange", "this certificate is not a host's")
    return HostId(names[0].removeprefix(HOST_URI))


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _ALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _receive(reader: asyncio.StreamReader, most: int = MAX_BYTES) -> bytes:
    """:raise EOFError: it ends before that, or is too long."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > most:
        raise EOFError(f"a message of {size} bytes")
    return await reader.readexactly(size)


async def _send(writer: asyncio.StreamWriter, message: DoorMessage) -> None:
    await _write(writer, encode(message))


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _close(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


async def _pump(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read():
        await write(data)


async def _both(*pumps: Awaitable[None]) -> None:
    """Until either direction ends: a half-open connection is worth nothing to libvirt."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
