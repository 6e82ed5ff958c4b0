"""The simulated move does what a real one does: it converges or not by what the guest writes, waits for GO, and ends as libvirt's do when something breaks."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from houyi.host.sim import SimHost, SimNet
from houyi.host.sim.net import Phase, SimRoad
from houyi.model.errors import Conflict, Failed, Unavailable
from houyi.model.ids import MigrationId, VmId
from houyi.model.migration import Figures, Knobs, Landing, Presence, Terms
from made import a_vm, an_image
from sim.virtual import VirtualClock, VirtualLoop

MOVE = MigrationId("move")
WAY = Path("/sim/way")
VM = a_vm(an_image(), memory_mib=1024)
P = Presence


class Two:
    """Machines `a`, which runs the guest, and `b`, which has its files and an open door."""

    def __init__(self) -> None:
        self.net, clock = SimNet(), VirtualClock()
        self.a, self.b = SimHost(clock), SimHost(clock)
        for name, machine in (("a", self.a), ("b", self.b)):
            machine.join(self.net, name)
            machine.disks[VM.id], machine.seeds[VM.id] = 1, VM
        self.net.open_door("b", MOVE, self)
        self.arrived = asyncio.Event()
        self.net.open_road(WAY, SimRoad(MOVE, "a", "b", self.arrived.set))
        self.mover, self.other = self.a.ports().mover, self.b.ports().mover

    async def send(self, **terms: Any) -> Figures:
        landing = Landing(address="b", port=1, tls_name="b")
        return await self.mover.send(VM, landing, WAY, Terms(**terms))

    async def presences(self) -> tuple[Presence, Presence]:
        return (await self.mover.presences([VM.id]))[VM.id], (await self.other.presences([VM.id]))[VM.id]

    def at(self, phase: Phase, act: Callable[[], object]) -> None:
        def watch(now: Phase, _vm_id: VmId) -> None:
            if now is phase:
                act()

        self.net.watch = watch


def lived(life: Callable[[Two], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        two = Two()
        await two.a.ports().machine.start(VM)
        try:
            await life(two)
        finally:
            await two.a.close()
            await two.b.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())


def test_it_arrives_and_waits_for_go() -> None:
    async def life(two: Two) -> None:
        figures = await two.send()
        assert two.arrived.is_set()
        assert 10 < figures.elapsed_seconds < 20
        assert figures.rounds >= 1
        assert await two.presences() == (P.NONE, P.ARRIVED)
        assert not two.b.domains[VM.id].executes
        await two.other.go(VM.id, run=True)
        assert await two.presences() == (P.NONE, P.LIVE)
        assert two.b.domains[VM.id].executes

    lived(life)


@pytest.mark.parametrize(("knobs", "presences"), [(Knobs(throttle_percent=80), (P.NONE, P.ARRIVED)), (Knobs(downtime_ms=9000), (P.NONE, P.ARRIVED))])
def test_a_guest_that_writes_faster_than_the_line_never_converges_by_itself(knobs: Knobs, presences: tuple[Presence, Presence]) -> None:
    async def life(two: Two) -> None:
        domain = two.a.domains[VM.id]
        domain.dirty_mib_s, domain.write_set_mib = 200.0, 800.0
        sending = asyncio.create_task(two.send())
        await asyncio.sleep(300.0)
        assert await two.presences() == (P.SENDING, P.INCOMING)
        await two.mover.turn(VM.id, knobs)
        await sending
        assert await two.presences() == presences

    lived(life)


@pytest.mark.parametrize("phase", [Phase.BEGIN, Phase.PREPARE, Phase.EARLY, Phase.LATE])
def test_it_can_be_aborted_until_the_destination_is_asked_to_finish(phase: Phase) -> None:
    async def life(two: Two) -> None:
        two.at(phase, lambda: two.a.jobs[VM.id].abort())
        with pytest.raises(Failed, match="cancelled"):
            await two.send()
        await asyncio.sleep(1.0)
        assert await two.presences() == (P.LIVE, P.NONE)

    lived(life)


@pytest.mark.parametrize(
    ("phase", "source", "destination"),
    [
        (Phase.EARLY, P.LIVE, P.NONE),
        (Phase.LATE, P.LIVE, P.NONE),
        (Phase.FINISH, P.LIVE, P.NONE),
        (Phase.FINISHED, P.LIVE, P.ARRIVED),  # libvirt resumes: that the copy there waits for GO is what keeps it from running twice
        (Phase.CONFIRM, P.NONE, P.ARRIVED),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_a_lost_network(phase: Phase, source: Presence, destination: Presence, silent: bool) -> None:
    async def life(two: Two) -> None:
        two.at(phase, lambda: (two.net.silence if silent else two.net.cut)("a", "b"))
        await asyncio.gather(two.send(), return_exceptions=True)
        await asyncio.sleep(60.0)
        assert await two.presences() == (source, destination)

    lived(life)


@pytest.mark.parametrize(
    ("phase", "source"), [(Phase.EARLY, P.LIVE), (Phase.FINISH, P.HALTED), (Phase.FINISHED, P.HALTED), (Phase.TOLD, P.HALTED), (Phase.CONFIRM, P.OFF)]
)
def test_libvirtd_of_the_source_dies(phase: Phase, source: Presence) -> None:
    async def life(two: Two) -> None:
        two.at(phase, two.a.lose_libvirt)
        with pytest.raises(Unavailable):
            await two.send()
        await asyncio.sleep(5.0)
        two.a.restore_libvirt()
        await asyncio.sleep(1.0)
        assert (await two.presences())[0] is source

    lived(life)


def test_a_copy_that_has_not_arrived_is_not_run() -> None:
    async def life(two: Two) -> None:
        refused: list[str] = []

        async def knock() -> None:
            try:
                await two.other.go(VM.id, run=True)
            except Conflict as error:
                refused.append(error.code)

        two.at(Phase.LATE, lambda: two.b.work(knock()))
        await two.send()
        assert refused == ["not_arrived"]

    lived(life)


def test_postcopy_breaks_and_is_recovered() -> None:
    async def life(two: Two) -> None:
        domain = two.a.domains[VM.id]
        domain.dirty_mib_s, domain.write_set_mib = 200.0, 800.0
        sending = asyncio.create_task(two.send(postcopy=True))
        await asyncio.sleep(60.0)
        two.at(Phase.POSTCOPY, lambda: two.net.cut("a", "b"))
        await two.mover.turn(VM.id, Knobs(postcopy=True))
        with pytest.raises(Failed):
            await sending
        assert await two.presences() == (P.POSTCOPY_BROKEN, P.POSTCOPY_BROKEN)
        assert two.b.domains[VM.id].executes
        two.net.watch = None
        two.net.heal()
        await two.mover.recover(VM, Landing(address="b", port=1, tls_name="b"), WAY, Terms(postcopy=True))
        assert await two.presences() == (P.NONE, P.LIVE)

    lived(life)
