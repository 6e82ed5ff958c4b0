"""The agent's end of the link, with a server that a test speaks for: certificates are renewed in time, and what is strange is not believed."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from houyi.agent.agent import identity_of, run_agent
from houyi.agent.identity import Identity
from houyi.base.config import AgentSettings, Settings
from houyi.base.ids import SeededIds
from houyi.base.socket import Socket
from houyi.control.ca import HOST_DAYS, Authority
from houyi.host.sim import SimHost
from houyi.model.ids import HostId
from houyi.wire.agents import Hello, Message, MoveCertificateAsk, MoveCertificateDone, RenewAsk, RenewDone, Report, Up, Welcome, decode_up, encode
from sim.wires import Wire

pytestmark = pytest.mark.anyio

HOST = HostId("00000000-0000-4000-8000-00000000000a")


class MovedClock:
    """Real time, but for a jump."""

    def __init__(self) -> None:
        self.jump = 0.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.jump

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = MovedClock()
        self.authority = Authority.open(folder / "ca", self.clock)
        self.settings = Settings(state_dir=folder, agent=AgentSettings(metrics_port=0))
        self.identity: Identity = identity_of(self.settings)
        self.identity.pair.keep(self.authority.issue_host(HOST, self.identity.request()))
        self.identity.ca_path.write_text(self.authority.pem)
        self.sim = SimHost(self.clock)
        self.wires: asyncio.Queue[Wire] = asyncio.Queue()

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Socket]:
        wire = Wire(random.Random(0))
        wire.delay = lambda: 0.0  # type: ignore[method-assign]
        self.wires.put_nowait(wire)
        yield wire.host

    async def linked(self) -> Wire:
        async with asyncio.timeout(5):
            wire = await self.wires.get()
        await self.heard(wire, Hello)
        await self.say(wire, Welcome(host_id=HOST, host_name="a", server_time=self.clock.now(), heartbeat_seconds=0.02))
        return wire

    async def say(self, wire: Wire, message: Message) -> None:
        await wire.server.send(encode(message))

    async def heard(self, wire: Wire, kind: type[Message]) -> Up:
        async with asyncio.timeout(5):
            while True:
                message = decode_up(await wire.server.recv(decode=False))
                if isinstance(message, kind):
                    return message

    async def silent_about(self, wire: Wire, kind: type[Message], reports: int = 5) -> None:
        for _ in range(reports):
            message = decode_up(await wire.server.recv(decode=False))
            assert not isinstance(message, kind)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    agent = asyncio.create_task(run_agent(made.settings, made.sim.ports(), made.clock, SeededIds(1), made.dial))
    yield made
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)


async def test_a_complete_report_comes_first(bench: Bench) -> None:
    wire = await bench.linked()
    first = await bench.heard(wire, Report)
    assert isinstance(first, Report)
    assert (first.serial, first.complete) == (1, True)
    second = await bench.heard(wire, Report)
    assert isinstance(second, Report)
    assert (second.serial, second.complete) == (2, False)


async def test_the_certificate_is_renewed_in_its_last_third(bench: Bench) -> None:
    wire = await bench.linked()
    await bench.silent_about(wire, RenewAsk)
    before = bench.identity.pair.certificate()
    bench.clock.jump = (HOST_DAYS * 2 / 3 + 1) * 86400
    ask = await bench.heard(wire, RenewAsk)
    assert isinstance(ask, RenewAsk)
    await bench.silent_about(wire, RenewAsk)  # asked once, until it is time to ask again
    await bench.say(wire, RenewDone(certificate_pem=bench.authority.issue_host(HOST, ask.csr_pem)))
    await bench.silent_about(wire, RenewAsk)
    after = bench.identity.pair.certificate()
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert after.public_key() == before.public_key()
    assert bench.identity.host_id() == HOST
    bench.identity.context()


async def test_qemu_has_a_certificate_for_moves_that_is_renewed(bench: Bench) -> None:
    wire = await bench.linked()
    for days in (0.0, HOST_DAYS * 2 / 3 + 1):
        bench.clock.jump = days * 86400
        ask = await bench.heard(wire, MoveCertificateAsk)
        assert isinstance(ask, MoveCertificateAsk)
        for strange in (bench.authority.issue_move(HostId("another"), ask.csr_pem), bench.authority.issue_host(HOST, ask.csr_pem), "nonsense"):
            await bench.say(wire, MoveCertificateDone(certificate_pem=strange))
        given = bench.authority.issue_move(HOST, ask.csr_pem)
        await bench.say(wire, MoveCertificateDone(certificate_pem=given))
        await bench.silent_about(wire, MoveCertificateAsk)
        ca, certificate, key = bench.sim.move_credentials or ("", "", "")
        assert (ca, certificate) == (bench.authority.pem, given)
        assert load_pem_private_key(key.encode(), None).public_key() == load_pem_x509_certificate(given.encode()).public_key()
        assert key != bench.identity.key_path.read_text()


@pytest.mark.parametrize("strange", ["another host's", "another key's", "another platform's", "nonsense"])
async def test_a_strange_certificate_is_not_kept(bench: Bench, strange: str, tmp_path: Path) -> None:
    wire = await bench.linked()
    before = bench.identity.certificate_path.read_bytes()
    csr = bench.identity.request()
    pem = {
        "another host's": lambda: bench.authority.issue_host(HostId("00000000-0000-4000-8000-00000000000b"), csr),
        "another key's": lambda: bench.authority.issue_host(HOST, Identity(tmp_path / "other").request()),
        "another platform's": lambda: Authority.open(tmp_path / "platform", bench.clock).issue_host(HOST, csr),
        "nonsense": lambda: "nonsense",
    }[strange]()
    await bench.say(wire, RenewDone(certificate_pem=pem))
    await bench.silent_about(wire, RenewAsk)
    assert bench.identity.certificate_path.read_bytes() == before


@pytest.mark.parametrize("nonsense", [b"", b"\xc1", encode(Welcome(host_id=HOST, host_name="a", server_time=0.0, heartbeat_seconds=1.0))])
async def test_a_server_that_speaks_nonsense_is_left_and_tried_again(bench: Bench, nonsense: bytes) -> None:
    wire = await bench.linked()
    await wire.server.send(nonsense)
    again = await bench.linked()
    report = await bench.heard(again, Report)
    assert isinstance(report, Report)
    assert report.complete
