"""Consoles and displays over the link: each stream is pumped both ways, with credit, and ends on its own without disturbing the others."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from houyi.base.credit import Credit
from houyi.base.log import get_log
from houyi.host.passages import Channel
from houyi.host.port import Consoles
from houyi.model.errors import HouyiError, Problem
from houyi.wire.agents import PIECE_BYTES, WINDOW, Message, StreamAck, StreamClose, StreamData, StreamOpen

log = get_log(__name__)

Send = Callable[[Message], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Stream:
    credit: Credit = field(default_factory=lambda: Credit(WINDOW))
    inbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    waiting_bytes: int = 0
    task: asyncio.Task[None] | None = None


class Streams:
    """Those of one connection to the server; `close()` when it ends."""

    def __init__(self, consoles: Consoles, send: Send) -> None:
        self._consoles = consoles
        self._send = send
        self._streams: dict[int, _Stream] = {}

    def open(self, message: StreamOpen) -> None:
        stream = self._streams[message.stream] = _Stream()
        stream.task = asyncio.create_task(self._serve(message, stream), name=f"stream-{message.stream}")

    def data(self, message: StreamData) -> None:
        stream = self._streams.get(message.stream)
        if stream is None:
            return
        stream.waiting_bytes += len(message.data)
        if stream.waiting_bytes > WINDOW:
            self._end(message.stream)  # it does not keep to its credit
            return
        stream.inbox.put_nowait(message.data)

    def ack(self, message: StreamAck) -> None:
        stream = self._streams.get(message.stream)
        if stream is not None:
            stream.credit.give(message.bytes)

    def shut(self, message: StreamClose) -> None:
        self._end(message.stream)

    async def close(self) -> None:
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._streams.clear()

    def _end(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and stream.task is not None:
            stream.task.cancel()

    async def _serve(self, message: StreamOpen, stream: _Stream) -> None:
        problem: Problem | None = None
        try:
            if message.kind == "log":
                await self._give(message.stream, stream, await self._consoles.log(message.vm_id))
            else:
                opened = self._consoles.serial if message.kind == "serial" else self._consoles.vnc
                await self._pump(message.stream, stream, await opened(message.vm_id))
        except HouyiError as error:
            problem = error.problem
        except OSError as error:
            problem = Problem("console_lost", f"the connection to the VM was lost: {error}")
        finally:
            self._streams.pop(message.stream, None)
        with contextlib.suppress(HouyiError, OSError):
            await self._send(StreamClose(stream=message.stream, problem=problem))

    async def _pump(self, number: int, stream: _Stream, channel: Channel) -> None:
        """Until either side ends."""

        async def down() -> None:
            while True:
                data = await stream.inbox.get()
                await channel.write(data)
                stream.waiting_bytes -= len(data)
                await self._send(StreamAck(stream=number, bytes=len(data)))

        writer = asyncio.create_task(down())
        reader = asyncio.create_task(self._up(number, stream, channel))
        try:
            ended, _ = await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            writer.cancel()
            reader.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            await channel.close()

    async def _up(self, number: int, stream: _Stream, channel: Channel) -> None:
        while data := await channel.read():
            await self._give(number, stream, data)

    async def _give(self, number: int, stream: _Stream, data: bytes) -> None:
        while data:
            size = await stream.credit.take(min(len(data), PIECE_BYTES))
            await self._send(StreamData(stream=number, data=data[:size]))
            data = data[size:]
