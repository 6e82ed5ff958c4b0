"""The agents' listener: TLS 1.3, a client certificate for /link and none for /join.

Who the peer is comes from its certificate alone (the URI `spiffe://houyi/host/<id>`), which our CA has signed.
"""

import asyncio
import ssl

from websockets.asyncio.server import Server, ServerConnection, serve

from houyi.api.agents.links import Links, guarded
from houyi.api.agents.session import HELLO_SECONDS, ReadImage
from houyi.api.agents.streams import LinkTunnel
from houyi.api.tunnels import TunnelKind
from houyi.base.log import get_log
from houyi.control.ca import Authority, check_request
from houyi.control.commands.host import join_host
from houyi.control.control import Control
from houyi.model.errors import Forbidden, Invalid, NotFound, Unavailable
from houyi.model.exits import ExitProfile
from houyi.model.host import HOST_URI
from houyi.model.ids import HostId, VmId
from houyi.model.latency import LatencyProfile
from houyi.model.names import is_id
from houyi.wire.agents import MAX_MESSAGE_BYTES, PROTOCOL, JoinAsk, JoinCa, JoinDone, JoinHello, decode_up, encode

log = get_log(__name__)

OPEN_SECONDS = 30.0
STRANGERS_BYTES = 64 << 10
"""Largest message of a peer without a certificate; a join request is about 1 KiB."""


class AgentsListener:
    """`start`, `stop`, and `open` for consoles (it is the API's `Tunnels`)."""

    def __init__(self, control: Control, authority: Authority, read_image: ReadImage) -> None:
        self._control = control
        self._authority = authority
        self._links = Links(control, authority, read_image)
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
                ssl_handshake_timeout=OPEN_SECONDS,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                open_timeout=OPEN_SECONDS,
            )
        except OSError as error:
            raise Unavailable("port_taken", f"cannot listen on {settings.agents_host}:{settings.agents_port}: {error.strerror}") from error
        self._watcher = asyncio.create_task(self._links.watch(), name="agents-watch")

    async def stop(self) -> None:
        """Close all links; VMs go on, and agents come back to the next server."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def open(self, host_id: HostId, vm_id: VmId, kind: TunnelKind) -> LinkTunnel:
        """:raise Unavailable: `host_unreachable`, `too_many_streams`, `vm_not_on_host`."""
        return await self._links.open(host_id, vm_id, kind)

    async def profile(self, host_id: HostId, vm_id: VmId, seconds: float) -> ExitProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`, `vm_not_on_host`. :raise Conflict: as the host refused."""
        return await self._links.profile(host_id, vm_id, seconds)

    async def latency(self, host_id: HostId, vm_id: VmId, seconds: float) -> LatencyProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`, `vm_not_on_host`. :raise Conflict: as the host refused."""
        return await self._links.latency(host_id, vm_id, seconds)

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
        if path == "/join":
            socket.protocol.max_message_size = STRANGERS_BYTES
            await guarded(socket, self._join(socket), path=path)
        elif path == "/link":
            await guarded(socket, self._link(socket), path=path)
        else:
            await guarded(socket, _nowhere(), path=path[:100])

    async def _join(self, socket: ServerConnection) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = decode_up(await socket.recv(decode=False))
        if not isinstance(hello, JoinHello) or hello.protocol != PROTOCOL:
            raise Invalid("protocol_unknown", f"the server speaks protocol {PROTOCOL}: bring both ends to the same version")
        await socket.send(encode(JoinCa(ca_pem=self._authority.pem)))
        async with asyncio.timeout(HELLO_SECONDS):
            ask = decode_up(await socket.recv(decode=False))
        if not isinstance(ask, JoinAsk):
            raise Invalid("link_protocol", "JoinAsk was expected")
        check_request(ask.csr_pem)  # a bad request must not use the token up
        host_id = await join_host(self._control, ask.token_id, ask.secret, ask.name)
        certificate = self._authority.issue_host(host_id, ask.csr_pem)
        await socket.send(encode(JoinDone(host_id=host_id, certificate_pem=certificate, ca_pem=self._authority.pem)))
        log.info("host_joined", host_id=host_id, host=ask.name)

    async def _link(self, socket: ServerConnection) -> None:
        await self._links.serve(_peer(socket), socket)


async def _nowhere() -> None:
    raise NotFound("no_such_path", "there are /join and /link only")


def _peer(socket: ServerConnection) -> HostId:
    """The host's id from its verified certificate. :raise Forbidden: `certificate_missing`, `certificate_strange`."""
    certificate = socket.transport.get_extra_info("ssl_object").getpeercert()
    if not certificate:
        raise Forbidden("certificate_missing", "this door needs the host's certificate: join first")
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(names) != 1 or not names[0].startswith(HOST_URI) or not is_id(names[0].removeprefix(HOST_URI)):
        raise Forbidden("certificate_strange", "this certificate is not a host's")
    return HostId(names[0].removeprefix(HOST_URI))
