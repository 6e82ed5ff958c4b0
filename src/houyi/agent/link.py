"""The link to the server: connects, tells everything, then what changes; hears what is desired; and tries again, with jitter, when it breaks.

away -> connecting -> told hello -> linked (reports up, desired down) -> away
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import websockets

from houyi.agent.counts import Counts
from houyi.agent.credentials import MoveCredentials
from houyi.agent.dial import Dial
from houyi.agent.identity import Identity, refusal
from houyi.agent.loop import Loop, states
from houyi.agent.reports import Reports
from houyi.agent.streams import Streams
from houyi.agent.traces import Traces
from houyi.base.clock import Clock
from houyi.base.ids import Ids
from houyi.base.log import get_log
from houyi.base.socket import Socket
from houyi.host.port import Ports
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.model.host import HostFacts, HostLoad
from houyi.model.ids import ImageId
from houyi.wire.agents import (
    CHUNK_BYTES,
    PROTOCOL,
    Desired,
    Down,
    Hello,
    ImageAsk,
    ImageChunk,
    Message,
    MoveCertificateAsk,
    MoveCertificateDone,
    Refused,
    RenewAsk,
    RenewDone,
    Report,
    StreamAck,
    StreamClose,
    StreamData,
    StreamOpen,
    TraceAsk,
    Welcome,
    decode_down,
    encode,
)

log = get_log(__name__)

RECONNECT_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Mean delay before the n-th try in a row (the last one stays), times 0.5 to 1.5 at random: a handshake costs the server
about 2 ms of CPU, so ten thousand agents at once would be 20 s of it."""
ANSWER_SECONDS = 20.0
"""A server that does not answer to Hello, or a chunk that does not come, for this long: the connection is given up."""
COALESCE_SECONDS = 0.02
"""Changes within this time go in one report."""
RENEW_ASK_SECONDS = 600.0
"""Between two requests for the next certificate; there are thirty days for it."""


@dataclass(slots=True)
class _Connection:
    socket: Socket
    serial: int = 0
    chunks: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    request: int = 0
    revision: int = 0
    """Of the newest snapshot that has come over it."""


@dataclass(frozen=True, slots=True)
class _Talks:
    """What the server may ask for over one connection, each answered beside all else."""

    streams: Streams
    traces: Traces


class Link:
    def __init__(
        self,
        *,
        identity: Identity,
        credentials: MoveCredentials,
        dial: Dial,
        reports: Reports,
        ports: Ports,
        clock: Clock,
        ids: Ids,
        counts: Counts,
    ) -> None:
        self._identity = identity
        self._credentials = credentials
        self._dial = dial
        self._reports = reports
        self._ports = ports
        self._clock = clock
        self._ids = ids
        self._counts = counts
        self._instance = ids.new()
        self._connection: _Connection | None = None
        self._serial = 0
        self._times_linked = 0
        self._heartbeat_seconds = 5.0
        self._load: HostLoad | None = None
        self._renew_at = self._renew_move_at = 0.0

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self, loop: Loop, facts: HostFacts) -> None:
        """Until cancelled."""
        tries = 0
        while True:
            before = self._times_linked
            try:
                await self._once(loop, facts)
            except (OSError, websockets.WebSocketException, HouyiError, msgspec.DecodeError) as error:
                code = error.code if isinstance(error, HouyiError) else type(error).__name__
                log.warning("link_lost", code=code, detail=str(error))
            self._counts.connected.set(0)
            tries = 0 if self._times_linked > before else tries + 1
            await self._clock.sleep(RECONNECT_SECONDS[min(tries, len(RECONNECT_SECONDS) - 1)] * self._ids.uniform(0.5, 1.5))

    async def read_image(self, image_id: ImageId, offset: int, length: int) -> bytes:
        """A piece of an image from the server. :raise Unavailable: `server_away`. :raise HouyiError: as the server refused."""
        connection = self._connection
        if connection is None:
            raise Unavailable("server_away", "the image has to be fetched from the server, which is not connected")
        connection.request += 1
        number = connection.request
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        connection.chunks[number] = answer
        try:
            await self._send(connection, ImageAsk(request=number, image_id=image_id, offset=offset, length=min(length, CHUNK_BYTES)))
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except (OSError, websockets.WebSocketException, TimeoutError) as error:
            raise Unavailable("server_away", "the connection to the server was lost while fetching an image") from error
        finally:
            connection.chunks.pop(number, None)

    async def _once(self, loop: Loop, facts: HostFacts) -> None:
        """One connection, from its making to its end."""
        async with self._dial() as socket:
            connection = _Connection(socket)
            await self._send(connection, Hello(protocol=PROTOCOL, boot_id=facts.boot_id, instance=self._instance, facts=facts))
            async with asyncio.timeout(ANSWER_SECONDS):
                welcome = decode_down(await socket.recv(decode=False))
            if isinstance(welcome, Refused):
                raise refusal(welcome)
            if not isinstance(welcome, Welcome):
                raise Failed("server_protocol", f"the server began with {type(welcome).__name__}")
            self._welcomed(welcome)
            self._connection = connection
            send = partial(self._send, connection)
            talks = _Talks(Streams(self._ports.consoles, send), Traces(self._ports.tracing, self._ports.telemetry, send))
            loop.wake(urgent=True)  # images can be had again
            try:
                await _first_to_end(self._hear(connection, loop, talks), self._tell(connection))
            finally:
                self._connection = None
                await talks.streams.close()
                await talks.traces.close()
                for answer in connection.chunks.values():
                    if not answer.done():
                        answer.set_exception(Unavailable("server_away", "the connection to the server was lost while fetching an image"))

    def _welcomed(self, welcome: Welcome) -> None:
        self._heartbeat_seconds = welcome.heartbeat_seconds
        self._times_linked += 1
        self._counts.connects.inc()
        self._counts.connected.set(1)
        self._renew_at, self._renew_move_at = self._identity.renew_at(), self._credentials.renew_at()
        skew = welcome.server_time - self._clock.now()
        log.info("linked", host=welcome.host_name, host_id=welcome.host_id, clock_skew_seconds=round(skew, 3))

    async def _hear(self, connection: _Connection, loop: Loop, talks: _Talks) -> None:
        while True:
            self._take(decode_down(await connection.socket.recv(decode=False)), connection, loop, talks)

    def _take(self, message: Down, connection: _Connection, loop: Loop, talks: _Talks) -> None:
        match message:
            case Desired() if message.revision < connection.revision:
                log.warning(
                    "desired_old", revision=message.revision, newest=connection.revision
                )  # only a store that was restored begins anew, and then the link does too
            case Desired():
                connection.revision = message.revision
                loop.take(message)
            case ImageChunk():
                answer = connection.chunks.get(message.request)
                if answer is not None and not answer.done():
                    if message.error is None:
                        answer.set_result(message.data)
                    else:
                        answer.set_exception(Unavailable(message.error.code, message.error.detail))
            case StreamOpen():
                talks.streams.open(message)
            case StreamData():
                talks.streams.data(message)
            case StreamAck():
                talks.streams.ack(message)
            case StreamClose():
                talks.streams.shut(message)
            case TraceAsk():
                talks.traces.ask(message)
            case RenewDone() | MoveCertificateDone():
                self._renewed(message)
            case Refused():
                raise refusal(message)
            case _:
                raise Failed("server_protocol", f"the server sent {type(message).__name__} on the link")

    async def _tell(self, connection: _Connection) -> None:
        """A complete report first, then what changes, and a heartbeat when nothing does."""
        everything = True
        while True:
            load = await self._new_load()
            vms, gone, happenings = self._reports.take(everything=everything)
            self._serial += 1
            self._counts.set_states(dict(states(self._reports.vms.values())))
            moves, samples = tuple(self._reports.moves.values()), self._reports.samples.take()
            report = Report(
                serial=self._serial,
                load=load,
                vms=vms,
                gone=gone,
                complete=everything,
                events=happenings,
                moves=moves,
                samples=samples,
                telemetry=self._reports.rates.take(),
                at=self._clock.now(),
                pool=self._reports.take_pool(everything=everything),
                traits=self._reports.traits.take(everything=everything),
                trials=tuple(self._reports.trials.values()),
                tuned=self._reports.tuned.take(everything=everything),
                lines=tuple(self._reports.lines.answers.values()),
            )
            try:
                await self._send(connection, report)
            except BaseException:
                self._reports.give_back(happenings)
                raise
            await self._ask_for_certificates(connection)
            everything = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._reports.news.wait()
                await asyncio.sleep(COALESCE_SECONDS)

    async def _new_load(self) -> HostLoad:
        """What the machine is doing now; as it was last when that cannot be found out: the host is there nevertheless."""
        while True:
            try:
                self._load = await self._ports.probe.load()
            except HouyiError as error:
                log.warning("load_unknown", code=error.code, detail=error.detail)
                if self._load is None:
                    await self._clock.sleep(1.0)
                    continue
            return self._load

    async def _ask_for_certificates(self, connection: _Connection) -> None:
        """For those that are in the last third of their lives."""
        now = self._clock.now()
        if now >= self._renew_at:
            self._renew_at = now + RENEW_ASK_SECONDS
            await self._send(connection, RenewAsk(csr_pem=self._identity.request()))
        if now >= self._renew_move_at:
            self._renew_move_at = now + RENEW_ASK_SECONDS
            await self._send(connection, MoveCertificateAsk(csr_pem=self._credentials.request()))

    def _renewed(self, message: RenewDone | MoveCertificateDone) -> None:
        """A certificate that is not ours is not kept: the one we have still works."""
        try:
            if isinstance(message, RenewDone):
                self._identity.renew(message.certificate_pem)
                self._renew_at = self._identity.renew_at()
            else:
                self._credentials.renew(message.certificate_pem)
                self._renew_move_at = self._credentials.renew_at()
        except (Failed, OSError) as error:
            log.error("certificate_not_renewed", error=str(error))
            return
        log.info("certificate_renewed", kind=type(message).__name__)

    @staticmethod
    async def _send(connection: _Connection, message: Message) -> None:
        await connection.socket.send(encode(message))


async def _first_to_end(*talks: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends; that one's error is raised, the others are cancelled."""
    tasks = [asyncio.create_task(talk) for talk in talks]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
