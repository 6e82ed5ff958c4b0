"""The door between two hosts over real sockets and real certificates: who comes in, for what, and what is left afterwards."""

import asyncio
import contextlib
import ssl
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import libvirt
import pytest
import uvloop

from houyi.agent.carry import send_files, take_files
from houyi.agent.door import Admission, Line, Way
from houyi.agent.identity import Identity
from houyi.agent.lines import Lines
from houyi.agent.net_door import NetDoor
from houyi.base.clock import SystemClock
from houyi.base.config import AgentSettings
from houyi.control.ca import Authority
from houyi.host.libvirt.calls.frames import Frame, Frames, Kind
from houyi.host.libvirt.calls.passage import CLOSE, FINISH, KEEPALIVE, PING, PREPARE, REMOTE
from houyi.host.libvirt.passages import LibvirtPassages
from houyi.host.passages import SETTLE_SECONDS
from houyi.host.sim import SimHost
from houyi.model.errors import Forbidden, HouyiError, Unavailable
from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.migration import Landing, Terms
from houyi.wire.door import Block, Complete, DoorMessage, Entered, Have, Knock, Offered, TurnedAway, Whole, decode_answer, encode
from made import a_vm, an_image

A, B, C = (HostId(f"00000000-0000-4000-8000-00000000000{letter}") for letter in "abc")
MOVE, OTHER = MigrationId("00000000-0000-4000-8000-000000000001"), MigrationId("00000000-0000-4000-8000-000000000002")
VM = VmId("11111111-2222-4333-8444-555555555555")
DOMAIN = (Path(__file__).parents[2] / "golden" / "domain" / "two-nics.xml").read_text()
VM_COLD = replace(a_vm(an_image(), disk_gib=5), id=VM)
CALL = Frame(REMOTE, 1, CLOSE, Kind.CALL, 1, 0, b"").encode()


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """In production it is uvloop, whose sockets differ."""
    return "asyncio", {"loop_factory": uvloop.new_event_loop} if request.param == "uvloop" else {}


def parameter(name: str, value: str) -> bytes:
    words = [struct.pack(">I", len(text)) + text + bytes(-len(text) % 4) for text in (name.encode(), value.encode())]
    return struct.pack(">I", 1) + words[0] + struct.pack(">I", 7) + words[1]


def finish(flags: int, cancelled: int) -> bytes:
    payload = parameter("destination_name", f"houyi-{VM}") + struct.pack(">III", 0, flags, cancelled)
    return Frame(REMOTE, 1, FINISH, Kind.CALL, 9, 0, payload).encode()


def prepare(flags: int) -> bytes:
    return Frame(REMOTE, 1, PREPARE, Kind.CALL, 8, 0, parameter("destination_xml", DOMAIN) + struct.pack(">II", 0, flags)).encode()


class Pair:
    """The door of host B, which takes a VM from host A; C is a third host of the same platform."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ways = Path(mkdtemp(prefix="door-"))  # a socket's path has 107 bytes
        self.authority = Authority.open(folder / "ca", SystemClock())
        self.libvirt_heard: list[Frame] = []
        self.heard = asyncio.Event()
        self.went, self.silent = 0, False
        self.refusal: HouyiError | None = None
        self.broken: list[HouyiError] = []
        self.ends = False
        self.destination = self.door(B)
        self.here, self.there = SimHost(SystemClock()), SimHost(SystemClock())

    def identity(self, host: HostId, authority: Authority | None = None) -> Identity:
        identity = Identity(self.folder / f"{host}-{id(authority)}")
        platform = authority or self.authority
        identity.keep_membership(platform.issue_host(host, identity.request()), self.authority.pem, "t")
        return identity

    def door(self, host: HostId, identity: Identity | None = None) -> NetDoor:
        settings = AgentSettings(door_port=0, door_address="127.0.0.1")
        passages = LibvirtPassages(f"qemu+unix:///system?socket={self.folder / 'libvirt.sock'}")
        return NetDoor(identity or self.identity(host), settings, passages, self.ways / host[-1])

    async def libvirt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers every call with OK and nothing."""
        frames = Frames()
        while data := await reader.read(65536):
            for frame in frames.feed(data):
                self.libvirt_heard.append(frame)
                self.heard.set()
                if self.silent:
                    continue
                if self.ends:
                    return writer.close()
                writer.write(Frame(frame.program, 1, frame.procedure, Kind.REPLY, frame.serial, 0, b"").encode())
        writer.close()

    async def go(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.went += 1

    async def take_files(self, line: Line) -> None:
        await take_files(line, self.there.ports().carrier, VM_COLD)

    async def admit(self, move: MigrationId = MOVE) -> Landing:
        landing = Landing(address="", port=0, tls_name="b", domain_xml=DOMAIN)
        passages = self.destination._passages
        address, port = await self.destination.admit(
            Admission(
                move=move,
                peer=A,
                libvirt=lambda: passages.open(VM, landing, Terms(encrypted=False, postcopy=True)),
                files=self.take_files,
                go=self.go,
                broke=self.broken.append,
            )
        )
        return Landing(address=address, port=port, tls_name="b", domain_xml=DOMAIN)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    server = await asyncio.start_unix_server(made.libvirt, tmp_path / "libvirt.sock")
    yield made
    await made.destination.close()
    server.close()
    assert [path for path in made.ways.rglob("*") if not path.is_dir()] == []
    rmtree(made.ways)


async def say(way: Way, *calls: bytes) -> bytes:
    """What comes back until it is as long as what was said, or the connection ends."""
    reader, writer = await asyncio.open_unix_connection(way.path)
    writer.write(b"".join(calls))
    answer = b""
    async with asyncio.timeout(5):
        while len(answer) < 28 * len(calls) and (data := await reader.read(65536)):
            answer += data
    writer.close()
    return answer


async def test_libvirts_calls_pass_and_the_socket_is_roots_alone(pair: Pair) -> None:
    landing = await pair.admit()
    source = pair.door(A)
    async with source.way(MOVE, B, landing) as way:
        assert (way.path.stat().st_mode & 0o777, way.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert await say(way, CALL) == Frame(REMOTE, 1, CLOSE, Kind.REPLY, 1, 0, b"").encode()
        assert await say(way, CALL) != b"", "a way takes more than one connection: a broken post-copy is taken up again"
        assert not way.arrived.is_set()
    assert not way.path.exists()
    assert len(pair.libvirt_heard) == 2


@pytest.mark.parametrize(("cancelled", "arrived"), [(0, True), (1, False)])
async def test_the_source_is_told_when_the_guest_has_arrived(pair: Pair, cancelled: int, arrived: bool) -> None:
    landing = await pair.admit()
    async with pair.door(A).way(MOVE, B, landing) as way:
        await say(way, finish(libvirt.VIR_MIGRATE_PAUSED, cancelled))
        assert way.arrived.is_set() is arrived


async def test_libvirt_is_kept_waiting_when_the_door_is_lost_in_a_handover_without_go(pair: Pair) -> None:
    """It would take the end of the connection for a failure, and resume its copy beside the one that may run."""
    landing = await pair.admit()
    pair.silent = True
    ping = Frame(KEEPALIVE, 1, PING, Kind.MESSAGE, 0, 0, b"").encode()
    async with pair.door(A).way(MOVE, B, landing) as way:
        reader, writer = await asyncio.open_unix_connection(way.path)
        writer.write(finish(libvirt.VIR_MIGRATE_POSTCOPY, 0))
        async with asyncio.timeout(5):
            await pair.heard.wait()
        await pair.destination.shut(MOVE)
        for _ in range(3):
            writer.write(ping)
            assert (await reader.readexactly(28))[12:16] == b"\0\0\0\2"
        assert way.problem is not None
        assert (way.problem.code, way.arrived.is_set()) == ("door_lost", False)
    assert await reader.read() == b""
    writer.close()


SEVERAL = libvirt.VIR_MIGRATE_PAUSED | libvirt.VIR_MIGRATE_PARALLEL


async def test_qemu_may_close_its_connections_before_libvirt_hears_that_the_move_is_over(pair: Pair) -> None:
    landing = await pair.admit()
    async with pair.door(A).way(MOVE, B, landing) as way:
        reader, writer = await asyncio.open_unix_connection(way.path)
        writer.write(prepare(SEVERAL))
        async with asyncio.timeout(5):
            await reader.readexactly(28)
            began = time.monotonic()
            writer.write(finish(SEVERAL, 1))
            await reader.readexactly(28)
        assert time.monotonic() - began >= SETTLE_SECONDS
        assert [frame.procedure for frame in pair.libvirt_heard] == [PREPARE, FINISH]
        writer.close()


async def test_qemu_may_close_its_connections_before_libvirt_hears_that_the_door_is_lost(pair: Pair) -> None:
    landing = await pair.admit()
    async with pair.door(A).way(MOVE, B, landing) as way:
        reader, writer = await asyncio.open_unix_connection(way.path)
        writer.write(prepare(SEVERAL))
        async with asyncio.timeout(5):
            await reader.readexactly(28)
            began = time.monotonic()
            await pair.destination.shut(MOVE)
            assert await reader.read() == b""
        assert time.monotonic() - began >= SETTLE_SECONDS
        writer.close()


async def test_a_call_that_is_not_of_a_move_ends_the_connection(pair: Pair) -> None:
    landing = await pair.admit()
    async with pair.door(A).way(MOVE, B, landing) as way:
        assert await say(way, Frame(REMOTE, 1, 12, Kind.CALL, 1, 0, b"").encode()) == b""
        assert way.problem is not None
        assert way.problem.code == "door_lost"
    assert pair.libvirt_heard == []
    (broken,) = pair.broken
    assert broken.code == "call_refused"
    assert "12" in broken.detail


async def test_both_ends_know_that_the_destinations_libvirt_has_gone(pair: Pair) -> None:
    landing = await pair.admit()
    pair.ends = True
    async with pair.door(A).way(MOVE, B, landing) as way:
        assert await say(way, finish(libvirt.VIR_MIGRATE_PAUSED, 1)) == b""
        assert way.problem is not None
        assert way.problem.code == "door_lost"
    assert [broken.code for broken in pair.broken] == ["libvirt_away"]


async def test_an_end_in_order_is_no_problem(pair: Pair) -> None:
    landing = await pair.admit()
    pair.ends = True
    async with pair.door(A).way(MOVE, B, landing) as way:
        assert await say(way, CALL) == b""
        assert way.problem is None
    assert pair.broken == []


async def test_go(pair: Pair) -> None:
    landing = await pair.admit()
    source = pair.door(A)
    await source.go(MOVE, B, landing)
    await source.go(MOVE, B, landing)
    assert pair.went == 2
    pair.refusal = Forbidden("withdrawn", "too late")
    with pytest.raises(Forbidden) as refused:
        await source.go(MOVE, B, landing)
    assert refused.value.code == "withdrawn"


async def test_nobody_else_comes_in(pair: Pair, tmp_path: Path) -> None:
    landing = await pair.admit()
    qemus = Identity(tmp_path / "qemu")
    qemus.keep_membership(pair.authority.issue_move(A, qemus.request()), pair.authority.pem, "t")
    stranger = pair.identity(A, Authority.open(tmp_path / "elsewhere", SystemClock()))
    tries = [(pair.door(C), MOVE, "door_shut"), (pair.door(A), OTHER, "door_shut"), (pair.door(A, qemus), MOVE, "certificate_strange")]
    for door, move, code in [*tries, (pair.door(A, stranger), MOVE, "door_unreachable")]:
        with pytest.raises((Forbidden, Unavailable)) as refused:
            await door.go(move, B, landing)
        assert refused.value.code == code
    assert pair.went == 0


async def test_the_source_looks_whose_door_it_is(pair: Pair) -> None:
    landing = await pair.admit()
    with pytest.raises(Forbidden) as refused:
        await pair.door(A).go(MOVE, C, landing)
    assert (refused.value.code, pair.went) == ("door_strange", 0)
    async with pair.door(A).way(MOVE, C, landing) as way:
        assert await say(way, CALL) == b""
        assert way.problem is not None
        assert way.problem.code == "door_strange"


async def test_shut_ends_what_is_inside_and_lets_nobody_in(pair: Pair) -> None:
    landing = await pair.admit()
    source = pair.door(A)
    async with source.way(MOVE, B, landing) as way:
        reader, writer = await asyncio.open_unix_connection(way.path)
        writer.write(CALL)
        await reader.readexactly(28)
        await pair.admit(OTHER)
        await pair.destination.shut(MOVE)
        assert await reader.read() == b""
        writer.close()
    with pytest.raises(Forbidden):
        await source.go(MOVE, B, landing)
    await pair.destination.shut(OTHER)
    with pytest.raises(Unavailable):
        await source.go(MOVE, B, landing)
    await pair.destination.shut(OTHER)
    assert (await pair.admit()).port > 0


async def test_it_speaks_tls_13_to_hosts_only(pair: Pair) -> None:
    landing = await pair.admit()
    for context in (None, ssl._create_unverified_context()):
        reader, writer = await asyncio.open_connection(landing.address, landing.port, ssl=context)
        writer.write(encode(Knock(protocol=1, move=MOVE, use="go")))
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            decode_answer((await reader.readexactly(5))[4:])
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert pair.went == 0
    older = pair.identity(A).context()
    older.check_hostname, older.minimum_version, older.maximum_version = False, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(landing.address, landing.port, ssl=older)


async def no_news(_size: int) -> None:
    pass


async def test_a_stopped_vms_files_pass(pair: Pair) -> None:
    pair.here.disks[VM], pair.here.contents[VM] = 5, b"written"
    sent: list[int] = []

    async def told(size: int) -> None:
        sent.append(size)

    landing = await pair.admit()
    async with pair.door(A).line(MOVE, B, landing) as line:
        await send_files(line, pair.here.ports().carrier, VM, told)
    assert (pair.there.disks, pair.there.contents, len(sent)) == ({VM: 5}, {VM: b"written"}, 5)


async def test_a_vm_without_files_passes(pair: Pair) -> None:
    async with pair.door(A).line(MOVE, B, await pair.admit()) as line:
        await send_files(line, pair.here.ports().carrier, VM, no_news)
    assert pair.there.disks == {}


async def test_what_the_destination_cannot_take_is_told_to_the_source(pair: Pair) -> None:
    pair.here.disks[VM], pair.here.contents[VM] = 5, b"written"
    pair.there.disk_full = True
    landing = await pair.admit()
    with pytest.raises(HouyiError) as refused:
        async with pair.door(A).line(MOVE, B, landing) as line:
            await send_files(line, pair.here.ports().carrier, VM, no_news)
    assert refused.value.code in ("disk_full", "door_lost")


@pytest.mark.parametrize(
    "said",
    [
        [Offered(name="../secret", size_bytes=1, stored_bytes=1)],
        [Offered(name="disk", size_bytes=1 << 40, stored_bytes=1)],
        [Offered(name="disk", size_bytes=1, stored_bytes=2)],
        [Offered(name="disk", size_bytes=-1, stored_bytes=-1)],
        [Offered(name="nvram", size_bytes=1 << 30, stored_bytes=1)],
        [Block(offset=0, data=b"x")],
        [Whole(sha256="0")],
        [Have(offset=1)],
        [Offered(name="disk", size_bytes=5 << 20, stored_bytes=1), Block(offset=5 << 20, data=b"x")],
        [Offered(name="disk", size_bytes=5 << 20, stored_bytes=1), Block(offset=1, data=b"x")],
        [Offered(name="disk", size_bytes=5 << 20, stored_bytes=1), Block(offset=-(1 << 20), data=b"x")],
        [Offered(name="disk", size_bytes=5 << 20, stored_bytes=1), Complete()],
        [Offered(name="disk", size_bytes=5 << 20, stored_bytes=1), Block(offset=0, data=b"x"), Whole(sha256="0" * 64)],
    ],
)
async def test_what_belongs_to_no_file_of_the_vm_is_refused(pair: Pair, said: list[DoorMessage]) -> None:
    async with pair.door(A).line(MOVE, B, await pair.admit()) as line:
        for message in said:
            await line.say(message)
        answers = [await line.hear()]
        while isinstance(answers[-1], Have):
            answers.append(await line.hear())
    assert isinstance(answers[-1], TurnedAway)
    assert answers[-1].problem.code in ("carried_refused", "carried_differs", "door_words")
    assert pair.there.disks == {}


async def test_only_the_moves_source_comes_in_with_files(pair: Pair) -> None:
    landing = await pair.admit()
    with pytest.raises(Forbidden) as refused:
        async with pair.door(C).line(MOVE, B, landing) as line:
            await line.say(Entered())
    assert refused.value.code == "door_shut"


async def test_a_line_that_breaks_is_told(pair: Pair) -> None:
    landing = await pair.admit()
    async with pair.door(A).line(MOVE, B, landing) as line:
        await pair.destination.shut(MOVE)
        with pytest.raises(Unavailable) as lost:
            await line.hear()
    assert lost.value.code == "door_lost"


async def test_how_much_the_way_carries_is_found_out_once(pair: Pair) -> None:
    landing = await pair.admit()
    lines = Lines(pair.door(A), SystemClock())
    with lines.sending():
        await lines.measure(MOVE, B, landing)
    assert lines.to(B) is None, "never beside a guest that is being sent"
    await lines.measure(MOVE, B, landing)
    rates = lines.to(B)
    assert rates is not None
    assert rates.all_mib_s >= rates.one_mib_s > 1.0
    await pair.destination.shut(MOVE)
    await lines.measure(MOVE, B, landing)
    assert lines.to(B) is rates, "it is believed for a day"


async def test_a_way_that_cannot_be_measured_holds_up_nothing(pair: Pair) -> None:
    landing = await pair.admit()
    stranger = Lines(pair.door(C), SystemClock())
    await stranger.measure(MOVE, B, landing)
    assert stranger.to(B) is None
    await pair.destination.shut(MOVE)
    lines = Lines(pair.door(A), SystemClock())
    await lines.measure(MOVE, B, landing)
    assert lines.to(B) is None
