"""One host's link, from Hello to its end: everything that it says is checked against what belongs to that host."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import websockets
from websockets.asyncio.server import ServerConnection

from houyi.api.agents.streams import LinkStreams
from houyi.base.log import get_log
from houyi.control.ca import Authority
from houyi.control.control import Control
from houyi.control.intake.host import take_goodbye, take_hello
from houyi.control.intake.vm import Happened, take_report
from houyi.model.errors import Conflict, HouyiError, Invalid, Problem
from houyi.model.ids import HostId, ImageId
from houyi.store.views.host import DesiredOfHost, desired_of
from houyi.wire.agents import (
    CHUNK_BYTES,
    PROTOCOL,
    Desired,
    Hello,
    ImageAsk,
    ImageChunk,
    Message,
    RenewAsk,
    RenewDone,
    Report,
    StreamAck,
    StreamClose,
    StreamData,
    Up,
    Welcome,
    decode_up,
    encode,
)

log = get_log(__name__)

HELLO_SECONDS = 10.0
"""A host that has connected says who it is at once."""
LOOK_SECONDS = 10.0
"""How often the desired state is compared without a hint: bounds the harm of a lost one."""
HAPPENINGS_MAX = 1000
"""In one report; more would be an agent gone wild."""
IMAGE_READS_AT_ONCE = 4

ReadImage = Callable[[ImageId, int, int], Awaitable[bytes]]
"""(image, offset, length) -> bytes of an available image. :raise HouyiError: it is not there."""


class Session:
    def __init__(self, control: Control, authority: Authority, read_image: ReadImage, host_id: HostId, socket: ServerConnection) -> None:
        self._control = control
        self._authority = authority
        self._read_image = read_image
        self.host_id = host_id
        self._socket = socket
        self._instance = ""
        self._sent: DesiredOfHost | None = None
        self._changed = asyncio.Event()
        self._reads = asyncio.Semaphore(IMAGE_READS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.streams = LinkStreams(self.send)

    async def run(self, admission: asyncio.Semaphore) -> None:
        """Until the link ends; the beginning, which costs most, under `admission`.

        :raise HouyiError: the host is refused. :raise msgspec.DecodeError: it speaks nonsense.
        """
        async with admission:
            await self._take_hello()
        pusher = asyncio.create_task(self._push(), name=f"push-{self.host_id}")
        pusher.add_done_callback(_log_crash)
        try:
            async for data in self._socket:
                await self._take(decode_up(only_bytes(data)))
        except websockets.ConnectionClosed:
            pass
        finally:
            pusher.cancel()
            for task in self._tasks:
                task.cancel()
            self.streams.close()
            await asyncio.gather(pusher, *self._tasks, return_exceptions=True)

    async def say_goodbye(self) -> None:
        """Write down that this link is gone, unless the host has another by now."""
        if self._instance:
            with suppress(HouyiError):
                await take_goodbye(self._control, self.host_id, self._instance)

    def poke(self) -> None:
        """Something of this host may have changed."""
        self._changed.set()

    async def close(self, reason: str) -> None:
        await self._socket.close(1001, reason)

    async def send(self, message: Message) -> None:
        with suppress(websockets.ConnectionClosed):
            await self._socket.send(encode(message))

    async def _take_hello(self) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = decode_up(only_bytes(await self._socket.recv(decode=False)))
        if not isinstance(hello, Hello):
            raise Invalid("link_protocol", "the first message on the link must be Hello")
        if hello.protocol != PROTOCOL:
            raise Invalid("protocol_unknown", f"the agent speaks protocol {hello.protocol}, the server {PROTOCOL}: bring both to the same version")
        host = await take_hello(self._control, self.host_id, hello.instance, hello.facts)
        self._instance = hello.instance
        heartbeat = min(self._control.settings.agent.heartbeat_seconds, self._control.settings.server.lease_seconds / 3)
        await self.send(Welcome(host_id=host.id, host_name=host.name, server_time=self._control.clock.now(), heartbeat_seconds=heartbeat))
        log.info("host_linked", host_id=host.id, host=host.name)

    async def _take(self, message: Up) -> None:
        match message:
            case Report():
                await self._take_report(message)
            case ImageAsk():
                task = asyncio.create_task(self._answer_image(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case RenewAsk():
                await self.send(RenewDone(certificate_pem=self._authority.issue_host(self.host_id, message.csr_pem)))
            case StreamData():
                self.streams.data(message)
            case StreamAck():
                self.streams.ack(message)
            case StreamClose():
                self.streams.shut(message)
            case _:
                raise Invalid("link_protocol", f"{type(message).__name__} has no place on the link")

    async def _take_report(self, report: Report) -> None:
        if len(report.events) > HAPPENINGS_MAX:
            raise Invalid("link_protocol", f"more than {HAPPENINGS_MAX} happenings in one report")
        happened = [Happened(one.vm_id, one.kind, one.detail) for one in report.events]
        taken = await take_report(self._control, self.host_id, self._instance, report.serial, report.load, report.vms, report.gone, happened)
        if not taken:
            raise Conflict("link_replaced", "a newer instance of this host's agent has reported: two agents run with one certificate")

    async def _answer_image(self, ask: ImageAsk) -> None:
        async with self._reads:
            try:
                if self._sent is None or ask.image_id not in {image.id for image in self._sent.images}:
                    raise Invalid("image_not_yours", "this image is not needed on this host")
                if not 0 < ask.length <= CHUNK_BYTES or ask.offset < 0:
                    raise Invalid("chunk_invalid", f"a chunk has 1 to {CHUNK_BYTES} bytes")
                data = await self._read_image(ask.image_id, ask.offset, ask.length)
                await self.send(ImageChunk(request=ask.request, data=data))
            except HouyiError as error:
                await self.send(ImageChunk(request=ask.request, data=b"", error=error.problem))
            except OSError as error:
                await self.send(ImageChunk(request=ask.request, data=b"", error=Problem("image_unreadable", f"the image cannot be read: {error.strerror}")))

    async def _push(self) -> None:
        """Send the desired state now and whenever it is another than what was sent."""
        while True:
            self._changed.clear()
            desired = await self._control.store.read(lambda c: desired_of(c, self.host_id))
            before = self._sent
            if before is None or (before.vms, before.networks, before.images) != (desired.vms, desired.networks, desired.images):
                self._sent = desired
                await self.send(Desired(revision=desired.revision, vms=desired.vms, networks=desired.networks, images=desired.images))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()


def only_bytes(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise Invalid("link_protocol", "text has no place on the link")
    return data


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("push_crashed", error=repr(task.exception()))
