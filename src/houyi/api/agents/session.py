"""One host's link, from Hello to its end: everything that it says is checked against what belongs to that host."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import websockets

from houyi.api.agents.streams import LinkStreams
from houyi.api.agents.traces import LinkTraces
from houyi.base.log import get_log
from houyi.base.socket import Socket
from houyi.control.ca import Authority
from houyi.control.control import Control
from houyi.control.intake.experiment import take_trials
from houyi.control.intake.host import take_clock, take_goodbye, take_hello
from houyi.control.intake.host_report import take_traits
from houyi.control.intake.line import take_lines
from houyi.control.intake.pool import take_answer
from houyi.control.intake.telemetry import take_telemetry
from houyi.control.intake.tuning import take_tuned
from houyi.control.intake.vm import Happened, take_report
from houyi.model.errors import Conflict, HouyiError, Invalid, Problem
from houyi.model.host import HostLoad
from houyi.model.ids import HostId, ImageId, VmId
from houyi.planning.host_clock import HostClock
from houyi.store.views.host import DesiredOfHost, desired_of
from houyi.wire.agents import (
    CHUNK_BYTES,
    PROTOCOL,
    Desired,
    Hello,
    ImageAsk,
    ImageChunk,
    Message,
    MoveCertificateAsk,
    MoveCertificateDone,
    RenewAsk,
    RenewDone,
    Report,
    StreamAck,
    StreamClose,
    StreamData,
    TraceDone,
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
VMS_MAX = 10_000
"""In one report: ten times what a host can hold."""
LINES_MAX = 64
"""In one report: one is asked for at a time."""
MOVES_MAX = 1000
"""In one report: two are under way at a host, and what is left of earlier ones is removed within a minute."""
DETAIL_MAX = 500
"""Characters of a happening's detail that are kept."""
IMAGE_READS_AT_ONCE = 4
IMAGE_ASKS_MAX = 64
"""That wait for their turn; an agent fetches two images at once, one piece of each."""
_KIND = re.compile(r"[a-z_]{1,40}")

ReadImage = Callable[[ImageId, int, int], Awaitable[bytes]]
"""(image, offset, length) -> bytes of an available image. :raise HouyiError: it is not there."""


class Session:
    """`hear_hello`, `greet`, `run`, in this order; `end` from outside."""

    def __init__(self, control: Control, authority: Authority, read_image: ReadImage, host_id: HostId, socket: Socket) -> None:
        self._control = control
        self._authority = authority
        self._read_image = read_image
        self.host_id = host_id
        self._socket = socket
        self._instance = ""
        self._sent: DesiredOfHost | None = None
        self._vms: frozenset[VmId] = frozenset()
        self._images: frozenset[ImageId] = frozenset()
        self._changed = asyncio.Event()
        self._reads = asyncio.Semaphore(IMAGE_READS_AT_ONCE)
        self._clock = HostClock()
        self._clock_was_off = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self.streams = LinkStreams(self.send)
        self.traces = LinkTraces(self.send)

    async def hear_hello(self) -> Hello:
        """:raise Invalid: `link_protocol`, `protocol_unknown`. :raise TimeoutError: it does not say who it is."""
        async with asyncio.timeout(HELLO_SECONDS):
            hello = decode_up(await self._socket.recv(decode=False))
        if not isinstance(hello, Hello):
            raise Invalid("link_protocol", "the first message on the link must be Hello")
        if hello.protocol != PROTOCOL:
            raise Invalid("protocol_unknown", f"the agent speaks protocol {hello.protocol}, the server {PROTOCOL}: bring both to the same version")
        return hello

    async def greet(self, hello: Hello) -> None:
        """Write down that the host is here, and welcome it. :raise NotFound: it was removed."""
        host = await take_hello(self._control, self.host_id, hello.instance, hello.facts)
        self._instance = hello.instance
        heartbeat = min(self._control.settings.agent.heartbeat_seconds, self._control.settings.server.lease_seconds / 3)
        await self.send(Welcome(host_id=host.id, host_name=host.name, server_time=self._control.clock.now(), heartbeat_seconds=heartbeat))
        log.info("host_linked", host_id=host.id, host=host.name)

    async def run(self) -> None:
        """Until the link ends. :raise HouyiError: the host is refused. :raise msgspec.DecodeError: it speaks nonsense."""
        self._running = asyncio.create_task(self._hear(), name=f"hear-{self.host_id}")
        pusher = asyncio.create_task(self._push(), name=f"push-{self.host_id}")
        try:
            await asyncio.wait({self._running})
            if self._running.cancelled():
                await self._socket.close(1001, "replaced by a newer connection of this host")
            else:
                self._running.result()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.streams.close()
            self.traces.close()
            for task in (self._running, pusher, *self._tasks):
                task.cancel()
            await asyncio.gather(self._running, pusher, *self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Take nothing more from this link; when this returns, nothing that it said is still under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def say_goodbye(self) -> None:
        """Write down that this link is gone."""
        with suppress(HouyiError):
            await take_goodbye(self._control, self.host_id, self._instance)

    def poke(self) -> None:
        """Something of this host may have changed."""
        self._changed.set()

    def has(self, vm_id: VmId) -> bool:
        """Whether the host has been told of this VM."""
        return vm_id in self._vms

    async def send(self, message: Message) -> None:
        with suppress(websockets.ConnectionClosed):
            await self._socket.send(encode(message))

    async def _hear(self) -> None:
        while True:
            await self._take(decode_up(await self._socket.recv(decode=False)))

    async def _take(self, message: Up) -> None:
        match message:
            case Report():
                await self._take_report(message)
            case ImageAsk():
                self._ask(message)
            case MoveCertificateAsk():
                await self.send(MoveCertificateDone(certificate_pem=self._authority.issue_move(self.host_id, message.csr_pem)))
            case RenewAsk():
                await self.send(RenewDone(certificate_pem=self._authority.issue_host(self.host_id, message.csr_pem)))
            case StreamData():
                self.streams.data(message)
            case StreamAck():
                self.streams.ack(message)
            case StreamClose():
                self.streams.shut(message)
            case TraceDone():
                self.traces.done(message)
            case _:
                raise Invalid("link_protocol", f"{type(message).__name__} has no place on the link")

    async def _take_report(self, report: Report) -> None:
        if (
            len(report.events) > HAPPENINGS_MAX
            or len(report.vms) + len(report.gone) + len(report.samples) + len(report.telemetry) > VMS_MAX
            or len(report.moves) > MOVES_MAX
        ):
            raise Invalid("link_protocol", f"more than {HAPPENINGS_MAX} happenings, {VMS_MAX} VMs or {MOVES_MAX} moves in one report")
        if not all(_KIND.fullmatch(one.kind) for one in report.events):
            raise Invalid("link_protocol", "a happening's kind is a short word")
        happened = [Happened(one.vm_id, one.kind, one.detail[:DETAIL_MAX]) for one in report.events]
        load = replace(report.load, clock_skew_seconds=self._clock.heard(report.at, self._control.clock.now()))
        taken = await take_report(
            self._control, self.host_id, self._instance, report.serial, load, report.vms, report.gone, happened, report.moves, report.samples
        )
        if not taken:
            raise Conflict("link_replaced", "a newer instance of this host's agent has reported: two agents run with one certificate")
        await self._mind_clock(load)
        await take_telemetry(self._control, self.host_id, report.telemetry)
        if report.traits is not None:
            await take_traits(self._control, self.host_id, report.traits)
        if report.pool is not None:
            await take_answer(self._control, self.host_id, report.pool)
        if report.lines:
            await take_lines(self._control, self.host_id, report.lines[:LINES_MAX])
        if report.trials:
            await take_trials(self._control, self.host_id, report.trials[:VMS_MAX])
        if report.tuned is not None:
            await take_tuned(self._control, self.host_id, report.tuned)

    async def _mind_clock(self, load: HostLoad) -> None:
        """Said once, and once more when it is right again."""
        if load.clock_is_off is not self._clock_was_off:
            await take_clock(self._control, self.host_id, load)
            self._clock_was_off = load.clock_is_off

    def _ask(self, ask: ImageAsk) -> None:
        if len(self._tasks) >= IMAGE_ASKS_MAX:
            raise Invalid("link_protocol", f"more than {IMAGE_ASKS_MAX} pieces of images asked for at once")
        task = asyncio.create_task(self._answer_image(ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_image(self, ask: ImageAsk) -> None:
        async with self._reads:
            try:
                if ask.image_id not in self._images:
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
            try:
                await self._push_once()
            except HouyiError as error:  # the store is away for now: the host goes on with what it has
                log.warning("push_later", host_id=self.host_id, code=error.code)
                await self._control.clock.sleep(1.0)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()

    async def _push_once(self) -> None:
        desired = await self._control.store.read(lambda c: desired_of(c, self.host_id))
        before = self._sent
        if before is not None and replace(before, revision=desired.revision) == desired:
            return
        self._sent = desired
        self._vms = frozenset(vm.id for vm in desired.vms)
        self._images = frozenset(image.id for image in desired.images)
        await self.send(
            Desired(
                revision=desired.revision,
                vms=desired.vms,
                networks=desired.networks,
                images=desired.images,
                moves=desired.moves,
                pool=desired.pool,
                trials=desired.trials,
                tuning=desired.tuning,
                lines=desired.lines,
            )
        )
