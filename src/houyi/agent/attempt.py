"""One attempt to move a guest from here: libvirt's part through the door, steering while it goes on, and GO as soon as it has been given up."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from houyi.agent.door import Door, Way
from houyi.agent.lines import Lines
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.model.errors import HouyiError, Problem, Unavailable
from houyi.model.migration import DesiredMove, Figures, Landing, MoveMode
from houyi.model.vm import Power
from houyi.planning.migration.steer import Steered, begin, start, steer

log = get_log(__name__)

STEER_SECONDS = 0.25
"""Between two looks; a round of a small guest takes about twice as long, and one of a large guest far longer."""
BEGIN_SECONDS = 0.05
"""Until the move is seen to be under way: an idle guest is over in less than a second, and QEMU shall know its limits by then."""
GO_SECONDS = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before each try to tell GO. After the last one it is left to the server, which learns of it from both ends."""


SEVER_SECONDS = (0.0, 1.0, 3.0, 10.0)
"""Before each time that streams to a lost host are ended: QEMU may just have been opening one."""


class Attempt:
    """Begins at once. `ended(self)` is called when nothing of it is under way any more: with a `problem`, or given up for good.

    `given_up()` writes down that our libvirt has been told that the guest has arrived. :raise OSError: it cannot be written.
    """

    def __init__(
        self,
        move: DesiredMove,
        landing: Landing,
        ports: Ports,
        door: Door,
        lines: Lines,
        clock: Clock,
        *,
        again: bool,
        given_up: Callable[[], None],
        ended: Callable[["Attempt"], None],
    ) -> None:
        self._move, self._landing, self._ports, self._door, self._lines, self._clock = move, landing, ports, door, lines, clock
        self._again, self._give_up, self._tell_end = again, given_up, ended
        self.problem: Problem | None = None
        self.figures: Figures | None = None
        self.mode = _mode(move, throttled=False, postcopy=False)
        self.gap_ms = 0.0
        self.stage, self.progress = "beginning", 0.0
        self._gave_up_because: Problem | None = None
        self.task = asyncio.create_task(self._run(), name=f"attempt-{move.id}")

    async def abort(self) -> None:
        """Stop it, if it can still be stopped."""
        await self._ports.mover.abort(self._move.vm.id)

    async def _run(self) -> None:
        move = self._move
        way: Way | None = None
        beside: list[asyncio.Task[None]] = []
        try:
            if not self._again:
                await self._lines.measure(move.id, move.peer, self._landing)
            with self._lines.sending():
                async with self._door.way(move.id, move.peer, self._landing) as way:
                    acts = {"go": self._go_when(way), "steer": self._steer(), "sever": self._sever_when(way)}
                    beside = [asyncio.create_task(act, name=f"{name}-{move.id}") for name, act in acts.items()]
                    act = self._ports.mover.recover if self._again else self._ports.mover.send
                    self.figures = _last_words(await act(move.vm, self._landing, way.path, move.terms), self.figures)
                    way.arrived.set()  # given up: whatever was seen of the calls
                    await asyncio.gather(beside[0], return_exceptions=True)
        except HouyiError as error:
            told = way.problem if way is not None and way.problem is not None else error
            self.problem = self._gave_up_because or told.problem
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        if self.figures is not None:
            self.mode = _mode(move, throttled=self.figures.throttle_percent > 0, postcopy=self.mode is MoveMode.POSTCOPY)
            self.gap_ms = self.figures.downtime_ms + self.gap_ms
        if self.figures is not None and self._move.vm.power is not Power.RUNNING:  # its user has paused it: it does not stand still because of the move
            self.figures, self.gap_ms = replace(self.figures, downtime_ms=0.0), 0.0
        self._tell_end(self)

    async def _go_when(self, way: Way) -> None:
        await way.arrived.wait()
        if self._move.vm.power is not Power.RUNNING:  # nothing else tells its copy here from the guest; one that runs is seen to be halted
            try:
                self._give_up()
            except OSError as error:
                log.error("ledger_unwritable", error=str(error))  # GO is left to the server, once our libvirt has let go of it
                return
        since = self._clock.monotonic()
        for delay in GO_SECONDS:
            await self._clock.sleep(delay)
            try:
                await self._door.go(self._move.id, self._move.peer, self._landing)
            except Unavailable as error:
                log.info("go_later", code=error.code, detail=error.detail)
            except HouyiError as error:
                log.warning("go_refused", code=error.code, detail=error.detail)
                return
            else:
                self.gap_ms = (self._clock.monotonic() - since) * 1000
                return

    async def _sever_when(self, way: Way) -> None:
        """What QEMU has on the line to a host that cannot be reached holds up the guest until the kernel gives up, which takes a quarter of an hour."""
        await way.lost.wait()
        for delay in SEVER_SECONDS:
            await self._clock.sleep(delay)
            try:
                await self._ports.passages.sever(self._landing.address)
            except HouyiError as error:
                log.warning("not_severed", code=error.code, detail=error.detail)

    async def _steer(self) -> None:
        memory: Steered | None = None
        while True:
            try:
                figures = await self._ports.mover.figures(self._move.vm.id)
                if figures is not None:
                    if memory is None:
                        memory = start(self._move.terms)
                        await self._ports.mover.turn(self._move.vm.id, begin(self._move.terms))
                    memory = await self._turn(memory, figures)
            except HouyiError as error:
                log.info("steer_later", code=error.code, detail=error.detail)
            await self._clock.sleep(BEGIN_SECONDS if memory is None else STEER_SECONDS)

    async def _turn(self, memory: Steered, figures: Figures) -> Steered:
        throttled = max(figures.throttle_percent, 0 if self.figures is None else self.figures.throttle_percent)
        self.figures = replace(figures, throttle_percent=throttled)
        self.stage, self.progress = _shown(figures, memory)
        steering = steer(memory, figures, self._move.terms)
        if steering.stop is not None:
            self._gave_up_because = steering.stop
            await self._ports.mover.abort(self._move.vm.id)
        elif steering.knobs is not None:
            log.info("steered", said=steering.memory.said)
            await self._ports.mover.turn(self._move.vm.id, steering.knobs)
            if steering.knobs.postcopy:
                self.mode = MoveMode.POSTCOPY
        return steering.memory


def _last_words(said: Figures, seen: Figures | None) -> Figures:
    """libvirt's figures of a move that has ended, and what they do not contain: how much the guest was slowed, and, of a post-copy, hardly anything."""
    if seen is None:
        return said
    if not said.elapsed_seconds:
        return seen
    kept = ("dirty_mib_s", "bandwidth_mib_s", "rounds", "memory_sent_mib", "downtime_ms")
    missing = {name: getattr(seen, name) for name in kept if not getattr(said, name)}
    return replace(said, throttle_percent=max(said.throttle_percent, seen.throttle_percent), postcopy=said.postcopy or seen.postcopy, **missing)


def _mode(move: DesiredMove, *, throttled: bool, postcopy: bool) -> MoveMode:
    if postcopy:
        return MoveMode.POSTCOPY
    if throttled:
        return MoveMode.THROTTLED
    if move.terms.channels > 1:
        return MoveMode.COMPRESSED if move.terms.compressed else MoveMode.MULTIFD
    return MoveMode.PLAIN


def _shown(figures: Figures, memory: Steered) -> tuple[str, float]:
    """Stage and share: disks first, then memory, whose rounds come ever nearer to the end."""
    if figures.disk_remaining_mib > 0 and not figures.rounds:
        return "copying the disk", 0.4 * (1 - figures.disk_remaining_mib / max(figures.disk_total_mib, 1.0))
    share = 1 - figures.memory_remaining_mib / figures.memory_total_mib if figures.memory_total_mib else 0.0
    said = memory.said or f"sending memory, round {max(1, figures.rounds)}"
    return said, 0.4 + 0.55 * share
