"""The server's end of consoles and displays: streams of one link, with credit both ways."""

import asyncio
from collections.abc import Awaitable, Callable

from houyi.api.tunnels import TunnelKind
from houyi.base.credit import Credit
from houyi.model.errors import Conflict, HouyiError, Problem, Unavailable
from houyi.model.ids import VmId
from houyi.wire.agents import PIECE_BYTES, WINDOW, Message, StreamAck, StreamClose, StreamData, StreamOpen

STREAMS_MAX = 256
"""On one link at once: bounds what consoles may hold in memory for one host to STREAMS_MAX times WINDOW."""

Send = Callable[[Message], Awaitable[None]]

_LOST = Unavailable("host_unreachable", "the link to the VM's host was lost: try again when it is back")


class LinkTunnel:
    """One stream; a `Tunnel`."""

    def __init__(self, number: int, send: Send, forget: Callable[[int], None]) -> None:
        self._number = number
        self._send = send
        self._forget = forget
        self._credit = Credit(WINDOW)
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._problem: HouyiError | None = None
        self._ended = False

    async def read(self) -> bytes:
        data = b"" if self._ended and self._inbox.empty() else await self._inbox.get() or b""
        if not data:
            if self._problem is not None:
                raise self._problem
            return b""
        self._waiting_bytes -= len(data)
        if not self._ended:
            await self._send(StreamAck(stream=self._number, bytes=len(data)))
        return data

    async def write(self, data: bytes) -> None:
        while data and not self._ended:
            size = await self._credit.take(min(len(data), PIECE_BYTES))
            await self._send(StreamData(stream=self._number, data=data[:size]))
            data = data[size:]

    async def close(self) -> None:
        if not self._ended:
            self.end(None)
            await self._send(StreamClose(stream=self._number))

    def take(self, data: bytes) -> None:
        """Bytes from the host; one that does not keep to its credit is cut off."""
        self._waiting_bytes += len(data)
        if self._waiting_bytes > WINDOW:
            self.end(Unavailable("stream_overrun", "the host sent more than it was allowed to"))
        else:
            self._inbox.put_nowait(data)

    def ack(self, amount: int) -> None:
        self._credit.give(amount)

    def end(self, problem: HouyiError | None) -> None:
        self._ended = True
        self._problem = problem
        self._inbox.put_nowait(None)
        self._credit.give(WINDOW)  # whoever waits to write goes on, and stops
        self._forget(self._number)


class LinkStreams:
    """All streams of one link."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._tunnels: dict[int, LinkTunnel] = {}
        self._last = 0

    async def open(self, vm_id: VmId, kind: TunnelKind) -> LinkTunnel:
        """:raise Unavailable: `too_many_streams`."""
        if len(self._tunnels) >= STREAMS_MAX:
            raise Unavailable("too_many_streams", f"{STREAMS_MAX} consoles of this host are open already: close one, then try again")
        self._last += 1
        tunnel = LinkTunnel(self._last, self._send, self._forget)
        self._tunnels[self._last] = tunnel
        await self._send(StreamOpen(stream=self._last, vm_id=vm_id, kind=kind))
        return tunnel

    def _forget(self, number: int) -> None:
        self._tunnels.pop(number, None)

    def data(self, message: StreamData) -> None:
        tunnel = self._tunnels.get(message.stream)
        if tunnel is not None:
            tunnel.take(message.data)

    def ack(self, message: StreamAck) -> None:
        tunnel = self._tunnels.get(message.stream)
        if tunnel is not None:
            tunnel.ack(message.bytes)

    def shut(self, message: StreamClose) -> None:
        tunnel = self._tunnels.get(message.stream)
        if tunnel is not None:
            tunnel.end(None if message.problem is None else _error(message.problem))

    def close(self) -> None:
        for tunnel in list(self._tunnels.values()):
            tunnel.end(_LOST)


def _error(problem: Problem) -> HouyiError:
    return Conflict(problem.code, problem.detail)
