"""The agents' listener: TLS 1.3, a client certificate for /link and none for /join, one session a host.

Who the peer is comes from its certificate alone (the URI `spiffe://houyi/host/<id>`), which our CA has signed.
"""

import asyncio
import ssl
from contextlib import suppress

import msgspec
import websockets
from cryptography.exceptions import UnsupportedAlgorithm
from websockets.asyncio.server import Server, ServerConnection, serve

from houyi.api.agents.session import HELLO_SECONDS, ReadImage, Session, only_bytes
from houyi.api.agents.streams import LinkTunnel
from houyi.api.tunnels import TunnelKind
from houyi.base.log import get_log
from houyi.control.ca import HOST_URI, Authority
from houyi.control.commands.host import join_host
from houyi.control.control import Control
from houyi.model.errors import Forbidden, HouyiError, Invalid, NotFound, Stale, Unavailable
from houyi.model.ids import HostId, VmId
from houyi.model.names import is_id
from houyi.store.views.vm import hosts_of_changes
from houyi.wire.agents import MAX_MESSAGE_BYTES, PROTOCOL, JoinAsk, JoinCa, JoinDone, JoinHello, Refused, decode_up, encode

log = get_log(__name__)

HANDSHAKES_AT_ONCE = 64
"""A handshake costs about 2 ms of CPU: when ten thousand agents come back at once, the rest waits its turn instead of timing out together."""
OPEN_SECONDS = 30.0


class AgentsListener:
    """`start`, `stop`, and `open` for consoles (it is the API's `Tunnels`)."""

    def __init__(self, control: Control, authority: Authority, read_image: ReadImage) -> None:
        self._control = control
        self._authority = authority
        self._read_image = read_image
        self._sessions: dict[HostId, Session] = {}
        self._admission = asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        self._server: Server | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """:raise RuntimeError: not started."""
        if self._server is None:
            raise RuntimeError("the listener is not started")
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def start(self) -> None:
        """:raise Unavailable: `port_taken`."""
        settings = self._control.settings.server
        try:
            self._server = await serve(
                self._serve,
                settings.agents_host,
                settings.agents_port,
                ssl=self._context(),
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                open_timeout=OPEN_SECONDS,
                logger=None,
            )
        except OSError as error:
            raise Unavailable("port_taken", f"cannot listen on {settings.agents_host}:{settings.agents_port}: {error.strerror}") from error
        self._watcher = asyncio.create_task(self._watch(), name="agents-watch")

    async def stop(self) -> None:
        """Close all links; VMs go on, and agents come back to the next server."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def open(self, host_id: HostId, vm_id: VmId, kind: TunnelKind) -> LinkTunnel:
        """:raise Unavailable: `host_unreachable`."""
        session = self._sessions.get(host_id)
        if session is None:
            raise Unavailable("host_unreachable", "the VM's host is not connected to this server: try again when it is back")
        return await session.streams.open(vm_id, kind)

    def _context(self) -> ssl.SSLContext:
        certificate, key = self._authority.issue_server(self._control.settings.server.agents_names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cadata=self._authority.pem)
        context.verify_mode = ssl.CERT_OPTIONAL  # a host that joins has none yet; /link asks for it below
        return context

    async def _serve(self, socket: ServerConnection) -> None:
        path = socket.request.path if socket.request else ""
        try:
            if path == "/join":
                await self._join(socket)
            elif path == "/link":
                await self._link(socket)
            else:
                raise NotFound("no_such_path", "there are /join and /link only")
        except HouyiError as error:
            log.warning("agent_refused", code=error.code, detail=error.detail, path=path)
            await _refuse(socket, error)
        except (msgspec.DecodeError, TimeoutError) as error:
            log.warning("agent_nonsense", error=str(error), path=path)
            await _refuse(socket, Invalid("message_malformed", "the message cannot be read: are both ends of the same version?"))
        except websockets.ConnectionClosed:
            pass

    async def _join(self, socket: ServerConnection) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = decode_up(only_bytes(await socket.recv(decode=False)))
        if not isinstance(hello, JoinHello) or hello.protocol != PROTOCOL:
            raise Invalid("protocol_unknown", f"the server speaks protocol {PROTOCOL}: bring both ends to the same version")
        await socket.send(encode(JoinCa(ca_pem=self._authority.pem)))
        async with asyncio.timeout(HELLO_SECONDS):
            ask = decode_up(only_bytes(await socket.recv(decode=False)))
        if not isinstance(ask, JoinAsk):
            raise Invalid("link_protocol", "JoinAsk was expected")
        try:
            self._authority.issue_host(HostId("rehearsal"), ask.csr_pem)  # a bad request must not use the token up
        except UnsupportedAlgorithm as error:
            raise Invalid("csr_invalid", f"the certificate request is not acceptable: {error}") from None
        host_id = await join_host(self._control, ask.token_id, ask.secret, ask.name)
        certificate = self._authority.issue_host(host_id, ask.csr_pem)
        await socket.send(encode(JoinDone(host_id=host_id, certificate_pem=certificate, ca_pem=self._authority.pem)))
        log.info("host_joined", host_id=host_id, host=ask.name)

    async def _link(self, socket: ServerConnection) -> None:
        host_id = _peer(socket)
        session = Session(self._control, self._authority, self._read_image, host_id, socket)
        before = self._sessions.pop(host_id, None)
        if before is not None:
            await before.close("replaced by a newer connection of this host")
        self._sessions[host_id] = session
        try:
            await session.run(self._admission)
        except NotFound as error:
            raise Forbidden("host_removed", "this host was removed from the platform: join again with a new token") from error
        finally:
            if self._sessions.get(host_id) is session:
                del self._sessions[host_id]
                await session.say_goodbye()

    async def _watch(self) -> None:
        """Poke the sessions of hosts of which something changed."""
        store = self._control.store
        since = store.revision
        while True:
            newest = await store.wait(since, 5.0)
            if newest == since:
                continue
            try:
                since = await self._poke_since(since, newest)
            except Stale:
                since = newest
                self._poke_all()
            except HouyiError as error:
                log.warning("watch_failed", code=error.code)
                await asyncio.sleep(1.0)

    async def _poke_since(self, since: int, newest: int) -> int:
        last, hosts = await self._control.store.read(lambda c: hosts_of_changes(c, since, newest))
        if hosts is None:
            self._poke_all()
        for host_id in hosts or ():
            session = self._sessions.get(host_id)
            if session is not None:
                session.poke()
        return last

    def _poke_all(self) -> None:
        for session in self._sessions.values():
            session.poke()


def _peer(socket: ServerConnection) -> HostId:
    """The host's id from its verified certificate. :raise Forbidden: `certificate_missing`, `certificate_strange`."""
    certificate = socket.transport.get_extra_info("ssl_object").getpeercert()
    if not certificate:
        raise Forbidden("certificate_missing", "this door needs the host's certificate: join first")
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(names) != 1 or not names[0].startswith(HOST_URI) or not is_id(names[0].removeprefix(HOST_URI)):
        raise Forbidden("certificate_strange", "this certificate is not a host's")
    return HostId(names[0].removeprefix(HOST_URI))


async def _refuse(socket: ServerConnection, error: HouyiError) -> None:
    with suppress(websockets.ConnectionClosed):
        await socket.send(encode(Refused(problem=error.problem)))
        await socket.close(1008, error.code)
