"""A link without a network: messages arrive late but in order, until the wire breaks (both ends hear of it, now or much later) or falls silent."""

import asyncio
import random
from collections import deque

import websockets

KEEPALIVE_SECONDS = 40.0
"""When an end that hears nothing gives up, as websockets' pings do."""
HEARD_MAX = 200


class SimSocket:
    """One end; a `base.socket.Socket`."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._under_way: deque[bytes | None] = deque()
        self._due = 0.0
        self.closed = False
        self.peer: SimSocket = self
        self.heard: deque[bytes] = deque(maxlen=HEARD_MAX)
        """What has arrived, to be said again."""

    async def recv(self, decode: bool) -> bytes:
        data = None if self.closed and self._inbox.empty() else await self._inbox.get()
        if data is None:
            raise websockets.ConnectionClosedError(None, None)
        return data

    async def send(self, message: bytes) -> None:
        await asyncio.sleep(0)
        if self.closed:
            raise websockets.ConnectionClosedError(None, None)
        if not self._wire.silent:
            self.peer.arrives(message, self._wire.delay())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closed:
            self.shut()
            if not self._wire.silent:
                self.peer.arrives(None, self._wire.delay())

    def arrives(self, message: bytes | None, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time() + delay)
        self._under_way.append(message)
        loop.call_at(self._due, self._take)

    def _take(self) -> None:
        message = self._under_way.popleft()  # timers of one moment run in any order; messages do not
        if self.closed or self._wire.silent:
            return
        if message is None:
            self.shut()
        else:
            self.heard.append(message)
            self._inbox.put_nowait(message)

    def shut(self) -> None:
        self.closed = True
        self._inbox.put_nowait(None)


class Wire:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.silent = False
        self.slow_seconds = 0.0
        """Added to what every message takes."""
        self.host, self.server = SimSocket(self), SimSocket(self)
        self.host.peer, self.server.peer = self.server, self.host

    def delay(self) -> float:
        return self.slow_seconds + self._chance.choice((0.0, 0.001, 0.01, 0.3))

    def cut(self) -> None:
        """What is under way is lost; each end finds out in its own time."""
        self.silent = True
        loop = asyncio.get_running_loop()
        for end in (self.host, self.server):
            loop.call_later(self._chance.choice((0.0, 0.1, 5.0, KEEPALIVE_SECONDS)), end.shut)
