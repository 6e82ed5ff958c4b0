"""What hosts may say on their links, message by message: a host with a good certificate reaches nothing of another (R9), and no host harms the server."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from houyi.agent.identity import Identity
from houyi.api.agents.links import Links, guarded
from houyi.api.agents.session import HAPPENINGS_MAX, IMAGE_ASKS_MAX, MOVES_MAX, VMS_MAX
from houyi.api.agents.streams import STREAMS_MAX
from houyi.api.agents.traces import TRACES_MAX
from houyi.base.clock import SystemClock
from houyi.base.config import Settings
from houyi.base.ids import SeededIds
from houyi.control.ca import Authority
from houyi.control.commands.host import join_host, remove_host
from houyi.control.commands.image import create_image
from houyi.control.commands.join_token import create_join_token
from houyi.control.commands.vm import stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.control import Context, Control
from houyi.control.first_start import first_start
from houyi.control.intake.image import receive
from houyi.control.reconcilers.placement import place_vms
from houyi.host.sim import sim_facts
from houyi.model.errors import Conflict, HouyiError, Problem, Unavailable
from houyi.model.exits import ExitProfile, Spent, Virtualization
from houyi.model.host import HostLoad
from houyi.model.ids import HostId, ImageId, MigrationId, VmId
from houyi.model.image import ImageSpec
from houyi.model.join_token import JoinTokenText
from houyi.model.latency import LatencyProfile
from houyi.model.migration import End, GuestSample, Landing, MigrationState, ObservedMove, Order, Presence
from houyi.model.token import Role
from houyi.model.vm import ObservedVm, VmState
from houyi.store.courses import move_course
from houyi.store.store import Store
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host
from houyi.store.views.page import EVERYTHING
from houyi.store.views.project import get_project
from houyi.store.views.vm import get_vm
from houyi.wire.agents import (
    CHUNK_BYTES,
    PROTOCOL,
    WINDOW,
    Desired,
    Happening,
    Hello,
    ImageAsk,
    ImageChunk,
    JoinAsk,
    JoinHello,
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
    TraceDone,
    Welcome,
    decode_down,
    encode,
)
from made import a_migration, insert_move
from sim.wires import Wire
from stores import NewUrl

pytestmark = pytest.mark.anyio

CONTENT = bytes(510) + b"\x55\xaa" + bytes(4096)
LOAD = HostLoad(vms_running=0, memory_free_mib=1024, disk_free_gib=10, load1=0.0, libvirt_connected=True)

MOVE = ObservedMove(id=MigrationId("m"), end=End.SOURCE, presence=Presence.NONE, order=Order.MOVE, over=True)


@dataclass
class Peer:
    """The host's end of one link."""

    wire: Wire
    talk: "asyncio.Task[None]"

    async def say(self, message: Message) -> None:
        await self.wire.host.send(encode(message))

    async def hear(self, kind: type[Message]) -> Message:
        async with asyncio.timeout(5):
            while True:
                message = decode_down(await self.wire.host.recv(decode=False))
                if isinstance(message, kind):
                    return message

    async def refused(self) -> Problem:
        message = await self.hear(Refused)
        assert isinstance(message, Refused)
        async with asyncio.timeout(5):
            await self.talk
        return message.problem


class Door:
    """A server without TLS: who a peer is, is said by the test."""

    def __init__(self, control: Control, authority: Authority, csr: str) -> None:
        self.control, self.authority = control, authority
        self.csr = csr
        self.reads = asyncio.Event()
        self.reads.set()
        self.links = Links(control, authority, self._read)
        self.tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.links.watch())]

    async def _read(self, _image: ImageId, offset: int, length: int) -> bytes:
        await self.reads.wait()
        return CONTENT[offset : offset + length]

    def connect(self, host_id: HostId) -> Peer:
        wire = Wire(random.Random(0))
        wire.delay = lambda: 0.0  # type: ignore[method-assign]
        talk = asyncio.create_task(guarded(wire.server, self.links.serve(host_id, wire.server)))
        self.tasks.append(talk)
        return Peer(wire, talk)

    async def link(self, host_id: HostId, instance: str = "first") -> Peer:
        peer = self.connect(host_id)
        await peer.say(Hello(protocol=PROTOCOL, boot_id="b", instance=instance, facts=sim_facts()))
        await peer.hear(Welcome)
        return peer

    async def join(self, name: str) -> HostId:
        token, text = await create_join_token(self.control, self.ctx, self.authority.fingerprint)
        return await join_host(self.control, token.id, JoinTokenText.parse(text).secret, name)

    @property
    def ctx(self) -> Context:
        return Context(actor="token:test", project_id=self.project_id, role=Role.ADMIN)

    async def fill(self) -> None:
        """Host A with one VM from one image, which runs; host B with nothing."""
        self.project_id = (await self.control.store.read(lambda c: get_project(c, "default"))).id
        self.a, self.b = await self.join("a"), await self.join("b")
        self.peer_a = await self.link(self.a)
        image, _ = await create_image(self.control, self.ctx, "disk", ImageSpec())
        self.image_id = image.id

        async def content() -> AsyncIterator[bytes]:
            yield CONTENT

        await receive(self.control, self.ctx, image.id, 0, len(CONTENT), content())
        vm, _ = await create_vm(self.control, self.ctx, VmAsk(name="vm", image="disk", vcpus=1, memory_mib=128, disk_gib=1))
        self.vm_id = vm.desired.id
        await place_vms(self.control)
        desired = await self.peer_a.hear(Desired)
        while isinstance(desired, Desired) and not desired.vms:
            desired = await self.peer_a.hear(Desired)
        self.running = ObservedVm(id=self.vm_id, epoch=1, generation=1, state=VmState.RUNNING)
        await self.peer_a.say(Report(serial=1, load=LOAD, vms=(self.running,), complete=True))
        await self.flushed(self.peer_a)
        assert await self.vm() == self.running

    async def vm(self) -> ObservedVm | None:
        return (await self.control.store.read(lambda c: get_vm(c, self.vm_id, None))).observed

    async def flushed(self, peer: Peer) -> None:
        """Everything that the peer has said so far was dealt with."""
        await peer.say(RenewAsk(csr_pem=self.csr))
        await peer.hear(RenewDone)


@pytest.fixture
async def door(tmp_path: Path, new_url: NewUrl) -> AsyncIterator[Door]:
    store = await Store.open(new_url("sqlite"))
    clock = SystemClock()
    control = Control(store, clock, SeededIds(1), Settings(state_dir=tmp_path))
    await first_start(control, "10.80.0.0/24")
    made = Door(control, Authority.open(tmp_path / "ca", clock), Identity(tmp_path / "identity").request())
    await made.fill()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await store.close()


# What host B says about what is host A's: nothing comes of it. The VM's and the image's ids are known to B.


def _lies(vm: VmId, image: ImageId, csr: str) -> dict[str, Message]:
    stopped = ObservedVm(id=vm, epoch=1, generation=9, state=VmState.STOPPED)
    return {
        "report": Report(serial=1, load=LOAD, vms=(stopped,)),
        "report of a later epoch": Report(serial=1, load=LOAD, vms=(replace(stopped, epoch=99),)),
        "complete report": Report(serial=1, load=LOAD, vms=(), complete=True),
        "gone": Report(serial=1, load=LOAD, gone=(vm,)),
        "happening": Report(serial=1, load=LOAD, events=(Happening(vm_id=vm, kind="guest_panic", detail="a lie", at=0.0),)),
        "image": ImageAsk(request=1, image_id=image, offset=0, length=10),
        "stream data": StreamData(stream=1, data=b"a lie"),
        "stream ack": StreamAck(stream=1, bytes=1 << 30),
        "stream close": StreamClose(stream=1, problem=Problem("a_lie", "a lie")),
        "renewal": RenewAsk(csr_pem=csr),
        "certificate for moves": MoveCertificateAsk(csr_pem=csr),
    }


@pytest.mark.parametrize("lie", list(_lies(VmId(""), ImageId(""), "")))
async def test_a_host_reaches_nothing_of_another(door: Door, lie: str) -> None:
    tunnel = await door.links.open(door.a, door.vm_id, "serial")
    await door.peer_a.hear(StreamOpen)
    evil = await door.link(door.b)
    desired = await evil.hear(Desired)
    assert isinstance(desired, Desired)
    assert (desired.vms, desired.networks, desired.images) == ((), (), ())
    await evil.say(_lies(door.vm_id, door.image_id, door.csr)[lie])
    if lie == "image":
        chunk = await evil.hear(ImageChunk)
        assert isinstance(chunk, ImageChunk)
        assert chunk.data == b""
        assert chunk.error is not None
        assert chunk.error.code == "image_not_yours"
    if lie == "renewal":
        done = await evil.hear(RenewDone)
        assert isinstance(done, RenewDone)
        assert f"spiffe://houyi/host/{door.b}".encode() in _der(done.certificate_pem)
    if lie == "certificate for moves":
        given = await evil.hear(MoveCertificateDone)
        assert isinstance(given, MoveCertificateDone)
        assert f"{door.b}.hosts.houyi".encode() in _der(given.certificate_pem)
        assert b"spiffe:" not in _der(given.certificate_pem)
    await door.flushed(evil)
    assert await door.vm() == door.running
    vm = await door.control.store.read(lambda c: get_vm(c, door.vm_id, None))
    assert (vm.host_id, vm.host_heard, vm.desired.deleted) == (door.a, True, False)
    events = (await door.control.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=door.vm_id))).items
    assert not [event for event in events if event.actor == f"host:{door.b}"]
    await door.peer_a.say(StreamData(stream=1, data=b"the truth"))
    assert await tunnel.read() == b"the truth"


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


async def test_a_console_goes_to_the_host_that_has_the_vm_or_nowhere(door: Door) -> None:
    await (await door.link(door.b)).hear(Desired)
    with pytest.raises(Unavailable) as refused:
        await door.links.open(door.b, door.vm_id, "serial")
    assert refused.value.code == "vm_not_on_host"


# What no host may say


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (JoinHello(protocol=PROTOCOL), "link_protocol"),
        (JoinAsk(token_id="t", secret="s", name="n", csr_pem=""), "link_protocol"),
        (Hello(protocol=PROTOCOL, boot_id="b", instance="i", facts=sim_facts()), "link_protocol"),
        (RenewAsk(csr_pem="nonsense"), "csr_invalid"),
        (Report(serial=1, load=LOAD, gone=(VmId("v"),) * (VMS_MAX + 1)), "link_protocol"),
        (Report(serial=1, load=LOAD, events=(Happening(vm_id=VmId("v"), kind="x", detail="", at=0.0),) * (HAPPENINGS_MAX + 1)), "link_protocol"),
        (Report(serial=1, load=LOAD, samples=(GuestSample(vm_id=VmId("v"), dirty_mib_s=1.0),) * (VMS_MAX + 1)), "link_protocol"),
        (Report(serial=1, load=LOAD, moves=(MOVE,) * (MOVES_MAX + 1)), "link_protocol"),
        (Report(serial=1, load=LOAD, events=(Happening(vm_id=VmId("v"), kind="vm.deleted; drop", detail="", at=0.0),)), "link_protocol"),
        (Report(serial=0, load=LOAD), "link_replaced"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_what_has_no_place_on_a_link_ends_it(door: Door, message: Message, code: str) -> None:
    peer = await door.link(door.b)
    await peer.say(message)
    assert (await peer.refused()).code == code
    await (await door.link(door.b, "second")).hear(Desired)
    await door.flushed(door.peer_a)


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"\xc1", b"hello", encode(StreamOpen(stream=1, vm_id=VmId("v"), kind="serial")), encode(Desired(revision=1, vms=(), networks=(), images=()))],
)
@pytest.mark.parametrize("greeted", [True, False])
async def test_nonsense_is_refused_and_harms_nobody(door: Door, nonsense: bytes, greeted: bool) -> None:
    peer = await door.link(door.b) if greeted else door.connect(door.b)
    await peer.wire.host.send(nonsense)
    assert (await peer.refused()).code == "message_malformed"
    await door.flushed(door.peer_a)


async def test_another_protocol_is_refused(door: Door) -> None:
    peer = door.connect(door.b)
    await peer.say(Hello(protocol=PROTOCOL + 1, boot_id="b", instance="i", facts=sim_facts()))
    assert (await peer.refused()).code == "protocol_unknown"


async def test_a_removed_host_is_refused(door: Door) -> None:
    await remove_host(door.control, door.ctx, "b")
    peer = door.connect(door.b)
    await peer.say(Hello(protocol=PROTOCOL, boot_id="b", instance="i", facts=sim_facts()))
    assert (await peer.refused()).code == "host_removed"


async def test_a_clock_that_goes_wrong_is_told_once_and_once_more_when_it_is_right(door: Door) -> None:
    said = [(1, 0.0), (2, 60.0), (3, 60.0), (4, math.nan), (5, 0.0)]
    for serial, ahead in said:
        await door.peer_a.say(Report(serial=serial + 1, load=LOAD, at=door.control.clock.now() + ahead))
        await door.flushed(door.peer_a)
    events = (await door.control.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=door.a))).items
    told = [one.detail for one in events if one.kind.startswith("host.clock")]
    assert told == ["its clock is 60.0 s ahead of the server's"], "until a minute has passed it is not known to be right"
    await door.links._sessions[door.a].end()
    peer = await door.link(door.a, "second")
    await peer.say(Report(serial=1, load=LOAD, vms=(door.running,), at=door.control.clock.now()))
    await door.flushed(peer)
    host = await door.control.store.read(lambda c: get_host(c, door.a))
    assert host.load is not None
    assert host.load.clock_skew_seconds == pytest.approx(0.0, abs=0.9)


async def test_images_come_in_bounded_pieces_and_few_at_once(door: Door) -> None:
    for offset, length, code in ((0, CHUNK_BYTES + 1, "chunk_invalid"), (-1, 10, "chunk_invalid"), (0, 0, "chunk_invalid")):
        await door.peer_a.say(ImageAsk(request=1, image_id=door.image_id, offset=offset, length=length))
        refused = await door.peer_a.hear(ImageChunk)
        assert isinstance(refused, ImageChunk)
        assert refused.error is not None
        assert refused.error.code == code
    await door.peer_a.say(ImageAsk(request=7, image_id=door.image_id, offset=510, length=2))
    chunk = await door.peer_a.hear(ImageChunk)
    assert chunk == ImageChunk(request=7, data=b"\x55\xaa")
    door.reads.clear()
    for request in range(IMAGE_ASKS_MAX + 1):
        await door.peer_a.say(ImageAsk(request=request, image_id=door.image_id, offset=0, length=1))
    assert (await door.peer_a.refused()).code == "link_protocol"


# One link a host


async def test_the_newest_link_of_a_host_is_the_one(door: Door) -> None:
    newer = await door.link(door.a, "second")
    await newer.hear(Desired)
    with pytest.raises(websockets.ConnectionClosed):
        await door.peer_a.hear(Refused)
    assert (await door.control.store.read(lambda c: get_host(c, door.a))).connected, "the end of the older one is no goodbye"
    await stop_vm(door.control, door.ctx, "vm")
    desired = await newer.hear(Desired)
    assert isinstance(desired, Desired)
    assert desired.vms[0].generation == 2
    stopped = replace(door.running, generation=2, state=VmState.STOPPED)
    await newer.say(Report(serial=1, load=LOAD, vms=(stopped,)))
    await door.flushed(newer)
    assert await door.vm() == stopped


async def test_many_links_of_one_host_at_once_leave_one(door: Door) -> None:
    peers = [door.connect(door.b) for _ in range(10)]
    await asyncio.gather(*(peer.say(Hello(protocol=PROTOCOL, boot_id="b", instance=f"i{n}", facts=sim_facts())) for n, peer in enumerate(peers)))
    left = {peer.talk for peer in peers}
    async with asyncio.timeout(5):
        while len(left) > 1:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
    assert (await door.control.store.read(lambda c: get_host(c, door.b))).connected
    (last,) = (peer for peer in peers if not peer.talk.done())
    await door.flushed(last)


async def test_what_is_wished_is_told_once(door: Door) -> None:
    await stop_vm(door.control, door.ctx, "vm")
    first = await door.peer_a.hear(Desired)
    assert isinstance(first, Desired)
    assert first.vms[0].generation == 2
    await door.peer_a.say(Report(serial=2, load=LOAD, vms=(replace(door.running, generation=2),)))
    await door.flushed(door.peer_a)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await door.peer_a.hear(Desired)  # a report changes the feed, but nothing of what is wished


async def test_both_ends_of_a_move_are_told_their_parts(door: Door) -> None:
    store = door.control.store
    peer_b = await door.link(door.b)
    await peer_b.hear(Desired)
    vm = (await store.read(lambda c: get_vm(c, door.vm_id, None))).desired
    one = a_migration(vm, door.a, door.b)
    orders = {End.SOURCE: Order.STAND_BY, End.DESTINATION: Order.PREPARE}
    await store.apply([insert_move(one, vm)])
    await store.apply([move_course(one, replace(one.course, state=MigrationState.PREPARING, orders=orders))])
    at_source, at_destination = await door.peer_a.hear(Desired), await peer_b.hear(Desired)
    assert isinstance(at_source, Desired)
    assert isinstance(at_destination, Desired)
    assert [(move.end, move.order, move.peer, move.landing) for move in at_source.moves] == [(End.SOURCE, Order.STAND_BY, door.b, None)]
    assert [(move.end, move.order, move.peer) for move in at_destination.moves] == [(End.DESTINATION, Order.PREPARE, door.a)]
    assert (at_destination.vms, [image.id for image in at_destination.images]) == ((), [door.image_id]), "the image is needed before the VM is here"
    assert at_destination.moves[0].vm.epoch == vm.epoch + 1
    landing = Landing(address="192.0.2.2", port=9, tls_name="b.hosts.houyi")
    ready = ObservedMove(id=one.id, end=End.DESTINATION, presence=Presence.INCOMING, order=Order.PREPARE, ready=True, landing=landing)
    await peer_b.say(Report(serial=1, load=LOAD, moves=(ready,)))
    at_source = await door.peer_a.hear(Desired)
    assert isinstance(at_source, Desired)
    assert at_source.moves[0].landing == landing


# Consoles


async def test_a_stream_both_ways(door: Door) -> None:
    tunnel = await door.links.open(door.a, door.vm_id, "serial")
    opened = await door.peer_a.hear(StreamOpen)
    assert isinstance(opened, StreamOpen)
    assert (opened.vm_id, opened.kind) == (door.vm_id, "serial")
    await tunnel.write(b"ls\n")
    assert await door.peer_a.hear(StreamData) == StreamData(stream=opened.stream, data=b"ls\n")
    await door.peer_a.say(StreamData(stream=opened.stream, data=b"x"))
    assert await tunnel.read() == b"x"
    assert await door.peer_a.hear(StreamAck) == StreamAck(stream=opened.stream, bytes=1)
    await door.peer_a.say(StreamClose(stream=opened.stream, problem=Problem("not_running", "start it")))
    with pytest.raises(Conflict) as ended:
        await tunnel.read()
    assert ended.value.code == "not_running"


async def test_a_host_that_does_not_listen_bounds_what_is_written_to_it(door: Door) -> None:
    tunnel = await door.links.open(door.a, door.vm_id, "serial")
    writing = asyncio.create_task(tunnel.write(bytes(2 * WINDOW)))
    await door.flushed(door.peer_a)
    assert not writing.done()
    await door.peer_a.say(StreamAck(stream=1, bytes=WINDOW))
    async with asyncio.timeout(5):
        await writing


async def test_a_host_that_sends_beyond_its_credit_is_cut_off(door: Door) -> None:
    tunnel = await door.links.open(door.a, door.vm_id, "serial")
    for _ in range(WINDOW // (64 << 10) + 1):
        await door.peer_a.say(StreamData(stream=1, data=bytes(64 << 10)))
    await door.flushed(door.peer_a)
    for _ in range(WINDOW // (64 << 10)):
        await tunnel.read()
    with pytest.raises(Unavailable) as ended:
        await tunnel.read()
    assert ended.value.code == "stream_overrun"


async def test_so_is_how_long_disks_take(door: Door) -> None:
    asked = asyncio.create_task(door.links.latency(door.a, door.vm_id, 1.0))
    ask = await door.peer_a.hear(TraceAsk)
    assert isinstance(ask, TraceAsk)
    assert (ask.vm_id, ask.seconds, ask.what) == (door.vm_id, 1.0, "latency")
    found = LatencyProfile(vm_id=door.vm_id, began_at=1.0, seconds=1.0, disks=())
    await door.peer_a.say(TraceDone(request=ask.request, latency=found))
    assert await asked == found
    refused = asyncio.create_task(door.links.latency(door.a, door.vm_id, 1.0))
    ask = await door.peer_a.hear(TraceAsk)
    assert isinstance(ask, TraceAsk)
    await door.peer_a.say(TraceDone(request=ask.request))
    with pytest.raises(Conflict) as conflict:
        await refused
    assert conflict.value.code == "tracing_refused"


async def test_the_end_of_the_link_is_the_end_of_its_consoles(door: Door) -> None:
    tunnel = await door.links.open(door.a, door.vm_id, "serial")
    await door.peer_a.wire.host.close()
    with pytest.raises(Unavailable) as ended:
        await tunnel.read()
    assert ended.value.code == "host_unreachable"
    async with asyncio.timeout(5):
        await door.peer_a.talk
    with pytest.raises(HouyiError):
        await door.links.open(door.a, door.vm_id, "serial")


async def test_consoles_of_one_host_are_bounded(door: Door) -> None:
    tunnels = [await door.links.open(door.a, door.vm_id, "serial") for _ in range(STREAMS_MAX)]
    with pytest.raises(Unavailable) as refused:
        await door.links.open(door.a, door.vm_id, "serial")
    assert refused.value.code == "too_many_streams"
    await tunnels[0].close()
    await door.links.open(door.a, door.vm_id, "serial")


async def test_exits_are_asked_of_the_vms_host(door: Door) -> None:
    asked = asyncio.create_task(door.links.profile(door.a, door.vm_id, 1.0))
    ask = await door.peer_a.hear(TraceAsk)
    assert isinstance(ask, TraceAsk)
    assert (ask.vm_id, ask.seconds) == (door.vm_id, 1.0)
    profile = ExitProfile(vm_id=door.vm_id, began_at=1.0, seconds=1.0, virtualization=Virtualization.SVM, reasons={"hlt": Spent(3, 4)})
    await door.peer_a.say(TraceDone(request=ask.request + 7, profile=profile))
    await door.peer_a.say(TraceDone(request=ask.request, profile=profile))
    assert await asked == profile
    refused = asyncio.create_task(door.links.profile(door.a, door.vm_id, 1.0))
    ask = await door.peer_a.hear(TraceAsk)
    assert isinstance(ask, TraceAsk)
    await door.peer_a.say(TraceDone(request=ask.request, error=Problem("no_vm_exits", "TCG")))
    with pytest.raises(Conflict) as conflict:
        await refused
    assert conflict.value.code == "no_vm_exits"


async def test_the_end_of_the_link_is_the_end_of_questions(door: Door) -> None:
    asked = asyncio.create_task(door.links.profile(door.a, door.vm_id, 30.0))
    await door.peer_a.hear(TraceAsk)
    await door.peer_a.wire.host.close()
    with pytest.raises(Unavailable) as lost:
        await asked
    assert lost.value.code == "host_unreachable"


async def test_questions_to_one_host_are_bounded(door: Door) -> None:
    asked = [asyncio.create_task(door.links.profile(door.a, door.vm_id, 30.0)) for _ in range(TRACES_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await door.links.profile(door.a, door.vm_id, 1.0)
    assert refused.value.code == "too_many_traces"
    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
