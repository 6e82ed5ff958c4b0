"""An agent that is asked of the way to another host: opens its door for who measures, or measures, and forgets what is asked no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from houyi.agent.door import Admission
from houyi.agent.ledger import Ledger
from houyi.agent.line_asks import LineAsks
from houyi.agent.lines import Lines
from houyi.agent.reports import Reports
from houyi.base.clock import SystemClock
from houyi.model.errors import Failed, Forbidden, HouyiError, Unavailable
from houyi.model.ids import HostId, MigrationId
from houyi.model.line import LineAnswer, LineAsk
from houyi.model.migration import Landing
from houyi.wire.agents import Desired
from houyi.wire.door import Block, DoorMessage, Entered, Have, Said

ID, PEER = MigrationId("line"), HostId("peer")


class EchoLine:
    """Acknowledges what was said."""

    def __init__(self) -> None:
        self._waiting: list[Said] = []

    async def say(self, message: DoorMessage) -> None:
        self._waiting.append(Have(offset=message.offset) if isinstance(message, Block) else Entered())

    async def hear(self) -> Said:
        return self._waiting.pop(0)


class FakeDoor:
    def __init__(self) -> None:
        self.admitted: dict[MigrationId, Admission] = {}
        self.dialled: list[Landing] = []
        self.trouble: HouyiError | None = None

    async def admit(self, admission: Admission) -> tuple[str, int]:
        if self.trouble is not None:
            raise self.trouble
        self.admitted[admission.move] = admission
        return "10.0.0.2", 7482

    async def shut(self, move: MigrationId) -> None:
        self.admitted.pop(move, None)

    @asynccontextmanager
    async def line(self, move: MigrationId, peer: HostId, landing: Landing, use: str = "files") -> AsyncIterator[EchoLine]:
        assert (move, peer, use) == (ID, PEER, "line")
        self.dialled.append(landing)
        if self.trouble is not None:
            raise self.trouble
        yield EchoLine()

    def way(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        raise AssertionError("nothing moves")

    async def go(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        raise AssertionError("nothing moves")


class Asked:
    def __init__(self, folder: Path) -> None:
        self.door = FakeDoor()
        self.ledger, self.reports = Ledger(folder), Reports()
        self.lines = Lines(self.door, SystemClock())  # type: ignore[arg-type]
        self.asks = LineAsks(self.door, self.lines, self.ledger, self.reports, SystemClock())  # type: ignore[arg-type]

    async def ask(self, *asks: LineAsk) -> LineAnswer | None:
        self.ledger.keep_desired(Desired(revision=1, vms=(), networks=(), images=(), lines=asks))
        await self.asks.turn()
        return self.reports.lines.answers.get(ID)


@pytest.fixture
def host(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


async def test_the_destination_opens_its_door_for_that_alone_and_shuts_it_again(host: Asked) -> None:
    answer = await host.ask(LineAsk(id=ID, peer=PEER, source=False))
    assert answer == LineAnswer(id=ID, address="10.0.0.2", port=7482)
    admission = host.door.admitted[ID]
    assert admission.peer == PEER
    for use in (admission.libvirt, admission.go):
        with pytest.raises(Forbidden, match="another kind"):
            await use()
    await host.asks.turn()
    assert await host.ask() is None
    assert host.door.admitted == {}


async def test_the_source_measures_once_the_door_is_open(host: Asked) -> None:
    assert await host.ask(LineAsk(id=ID, peer=PEER, source=True)) is None
    answer = await host.ask(LineAsk(id=ID, peer=PEER, source=True, address="10.0.0.2", port=7482))
    assert answer is not None
    assert answer.rates is not None
    assert answer.rates.all_mib_s >= answer.rates.one_mib_s > 0
    dialled = len(host.door.dialled)
    assert {(landing.address, landing.port) for landing in host.door.dialled} == {("10.0.0.2", 7482)}
    await host.asks.turn()
    assert len(host.door.dialled) == dialled, "an answer is an answer"


async def test_what_cannot_be_measured_is_told(host: Asked) -> None:
    host.door.trouble = Unavailable("door_unreachable", "cut")
    answer = await host.ask(LineAsk(id=ID, peer=PEER, source=True, address="10.0.0.2", port=7482))
    assert answer is not None
    assert answer.error is not None
    assert (answer.rates, answer.error.code) == (None, "line_not_measured")


async def test_a_door_that_cannot_be_opened_is_told(host: Asked) -> None:
    host.door.trouble = Failed("door_closed", "the port is taken")
    answer = await host.ask(LineAsk(id=ID, peer=PEER, source=False))
    assert answer is not None
    assert answer.error is not None
    assert answer.error.code == "door_closed"


async def test_nothing_is_measured_beside_a_guest_that_is_being_sent(host: Asked) -> None:
    with host.lines.sending():
        answer = await host.ask(LineAsk(id=ID, peer=PEER, source=True, address="10.0.0.2", port=7482))
    assert host.door.dialled == []
    assert answer is not None
    assert answer.error is not None


async def test_no_door_is_left_open_when_the_agent_ends(host: Asked) -> None:
    await host.ask(LineAsk(id=ID, peer=PEER, source=False))
    running = asyncio.create_task(host.asks.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert host.door.admitted == {}
