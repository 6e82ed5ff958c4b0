"""What is remembered of an attempt whose last words say less than what was seen while it went on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from desk import HandClock
from houyi.agent.attempt import Attempt
from houyi.agent.door import Way
from houyi.agent.lines import Lines
from houyi.host.sim import SimHost
from houyi.host.sim.mover import SimPassages
from houyi.model.errors import Failed, Unavailable
from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.migration import DesiredMove, End, Figures, Knobs, Landing, MigrationKind, MoveMode, Order, Terms
from houyi.model.vm import Power
from made import a_vm, an_image

LANDING = Landing(address="10.0.0.2", port=7483, tls_name="b")


class OpenDoor:
    """Everything arrives at once."""

    @asynccontextmanager
    async def way(self, *_: Any) -> AsyncIterator[Way]:
        yield Way(Path("/nowhere"))

    def line(self, *_: Any) -> Any:
        raise Unavailable("door_unreachable", "nothing is measured here")

    async def go(self, *_: Any) -> None:
        return


class ToldMover:
    """Shows these figures in turn, then ends with the last words."""

    def __init__(self, seen: list[Figures], last: Figures) -> None:
        self.seen, self.last, self.turned = seen, last, []  # type: tuple[list[Figures], Figures, list[Knobs]]
        self.shown = asyncio.Event()

    async def figures(self, _vm_id: VmId) -> Figures | None:
        if not self.seen:
            self.shown.set()
            await asyncio.sleep(3600)
        return self.seen.pop(0)

    async def send(self, *_: Any) -> Figures:
        await self.shown.wait()
        return self.last

    async def turn(self, _vm_id: VmId, knobs: Knobs) -> None:
        self.turned.append(knobs)


class QuickClock(HandClock):
    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


async def ended(seen: list[Figures], last: Figures, terms: Terms | None = None) -> tuple[Attempt, ToldMover]:
    clock, mover = QuickClock(), ToldMover(seen, last)
    move = DesiredMove(
        id=MigrationId("m"),
        vm=a_vm(an_image()),
        end=End.SOURCE,
        order=Order.MOVE,
        kind=MigrationKind.LIVE,
        peer=HostId("b"),
        terms=terms or Terms(),
        landing=LANDING,
    )
    ports = replace(SimHost(clock).ports(), mover=mover)  # type: ignore[arg-type]
    door: Any = OpenDoor()
    attempt = Attempt(move, LANDING, ports, door, Lines(door, clock), clock, again=False, given_up=lambda: None, ended=lambda _: None)
    async with asyncio.timeout(5):
        await attempt.task
    return attempt, mover


LOOK = Figures(elapsed_seconds=1.0, rounds=1, memory_total_mib=100, memory_remaining_mib=50, bandwidth_mib_s=60, dirty_mib_s=40)


async def test_the_strongest_slowdown_is_remembered_though_libvirts_last_words_know_none() -> None:
    seen = [LOOK, replace(LOOK, throttle_percent=60), replace(LOOK, throttle_percent=40)]
    attempt, _ = await ended(seen, Figures(elapsed_seconds=3.0, memory_sent_mib=200, rounds=7, downtime_ms=80, bandwidth_mib_s=70))
    assert attempt.problem is None
    assert attempt.figures == Figures(
        elapsed_seconds=3.0, memory_sent_mib=200, rounds=7, downtime_ms=80, bandwidth_mib_s=70, dirty_mib_s=40, throttle_percent=60
    )
    assert attempt.mode is MoveMode.THROTTLED


async def test_without_last_words_what_was_seen_last_counts() -> None:
    attempt, _ = await ended([LOOK, replace(LOOK, elapsed_seconds=2.0)], Figures())
    assert attempt.figures == replace(LOOK, elapsed_seconds=2.0)
    assert attempt.mode is MoveMode.PLAIN


async def test_qemu_is_told_its_limits_at_the_first_look() -> None:
    _, mover = await ended([LOOK, LOOK], Figures(), Terms(slowed_percent=50, bandwidth_mib_s_max=9.0))
    assert [(knobs.throttle_percent, knobs.bandwidth_mib_s) for knobs in mover.turned] == [(50, 9.0)]


class LostDoor(OpenDoor):
    """Behind it nobody can be reached any more."""

    @asynccontextmanager
    async def way(self, *_: Any) -> AsyncIterator[Way]:
        way = Way(Path("/nowhere"))
        way.lost.set()
        yield way


class Severing(SimPassages):
    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    async def sever(self, address: str) -> None:
        await super().sever(address)
        self.done.set()


class HeldMover(ToldMover):
    """QEMU waits for a line that is dead, until it is ended."""

    def __init__(self, passages: Severing) -> None:
        super().__init__([], Figures())
        self.passages = passages

    async def send(self, *_: Any) -> Figures:
        await self.passages.done.wait()
        raise Failed("migration_failed", "Software caused connection abort")


async def test_what_waits_for_a_host_that_is_gone_is_ended() -> None:
    clock, passages = QuickClock(), Severing()
    move = DesiredMove(
        id=MigrationId("m"), vm=a_vm(an_image()), end=End.SOURCE, order=Order.MOVE, kind=MigrationKind.LIVE, peer=HostId("b"), terms=Terms(), landing=LANDING
    )
    ports = replace(SimHost(clock).ports(), mover=HeldMover(passages), passages=passages)  # type: ignore[arg-type]
    door: Any = LostDoor()
    attempt = Attempt(move, LANDING, ports, door, Lines(door, clock), clock, again=False, given_up=lambda: None, ended=lambda _: None)
    async with asyncio.timeout(5):
        await attempt.task
    assert attempt.problem is not None
    assert attempt.problem.code == "migration_failed"
    assert set(passages.severed) == {LANDING.address}


class SlowMover(ToldMover):
    """Has it given up a while after it has arrived."""

    async def send(self, *_: Any) -> Figures:
        for _ in range(20):
            await asyncio.sleep(0)
        return self.last


async def said_and_written(power: Power, *, full: bool = False) -> list[str]:
    """What happens when a guest arrives, in order. A paused one does not stand still for it."""
    clock, done, order = QuickClock(), asyncio.Event(), []  # type: tuple[QuickClock, asyncio.Event, list[str]]

    class ArrivingDoor(OpenDoor):
        @asynccontextmanager
        async def way(self, *_: Any) -> AsyncIterator[Way]:
            way = Way(Path("/nowhere"))
            way.arrived.set()
            yield way

        async def go(self, *_: Any) -> None:
            order.append("go")

    def write() -> None:
        if full:
            raise OSError("no space left on device")
        order.append("written")

    vm = replace(a_vm(an_image()), power=power)
    move = DesiredMove(id=MigrationId("m"), vm=vm, end=End.SOURCE, order=Order.MOVE, kind=MigrationKind.LIVE, peer=HostId("b"), terms=Terms(), landing=LANDING)
    ports = replace(SimHost(clock).ports(), mover=SlowMover([], Figures(elapsed_seconds=1.0, downtime_ms=80.0)))  # type: ignore[arg-type]
    door: Any = ArrivingDoor()
    attempt = Attempt(move, LANDING, ports, door, Lines(door, clock), clock, again=False, given_up=write, ended=lambda _: done.set())
    async with asyncio.timeout(5):
        await attempt.task
        await done.wait()
    assert attempt.figures is not None
    assert (attempt.figures.downtime_ms > 0) is (power is Power.RUNNING)
    return order


async def test_that_a_paused_guest_is_given_up_is_written_before_go_is_said() -> None:
    """libvirt shows it as it was, whatever becomes of libvirtd: nothing else tells the copy from the guest."""
    assert await said_and_written(Power.PAUSED) == ["written", "go"]
    assert await said_and_written(Power.PAUSED, full=True) == []


async def test_go_to_a_guest_that_ran_waits_for_no_disk() -> None:
    assert await said_and_written(Power.RUNNING) == ["go"]
