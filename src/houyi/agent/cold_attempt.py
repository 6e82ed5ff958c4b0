"""One attempt to move a stopped VM from here: its files through the door, taken up again where the connection broke."""

import asyncio
from collections.abc import Callable

from houyi.agent.carry import send_files
from houyi.agent.door import Door
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.model.errors import Failed, HouyiError, Problem, Unavailable
from houyi.model.migration import DesiredMove, Figures, Landing, MoveMode

log = get_log(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Before each time that it is taken up again; after the last without anything sent in between it is given up."""
_MIB = 1 << 20


class ColdAttempt:
    """Begins at once. `ended(self)` is called when nothing of it is under way any more: with a `problem`, or with everything accepted at the destination."""

    def __init__(self, move: DesiredMove, landing: Landing, ports: Ports, door: Door, clock: Clock, *, ended: Callable[["ColdAttempt"], None]) -> None:
        self._move, self._landing, self._ports, self._door, self._clock, self._tell_end = move, landing, ports, door, clock, ended
        self.problem: Problem | None = None
        self.figures: Figures | None = None
        self.mode, self.gap_ms = MoveMode.COLD, 0.0
        self.stage, self.progress = "copying the disk", 0.0
        self._sent = self._total = 0
        self._began = clock.monotonic()
        self._aborted = False
        self._work: asyncio.Task[None] | None = None
        self.task = asyncio.create_task(self._run(), name=f"attempt-{move.id}")

    async def abort(self) -> None:
        """Stop it, if it can still be stopped: what has been accepted as a whole has been moved."""
        self._aborted = True
        if self._work is not None:
            self._work.cancel()

    async def _run(self) -> None:
        self._work = asyncio.create_task(self._send(), name=f"carry-{self._move.id}")
        try:
            await asyncio.wait([self._work])
            await self._work
        except asyncio.CancelledError:
            if not self._aborted:  # the agent ends
                self._work.cancel()
                raise
            self.problem = Problem("migration_cancelled", "the copying of its disk was stopped")
        except HouyiError as error:
            self.problem = error.problem
        except OSError as error:
            self.problem = Failed("disk_unreadable", f"the VM's disk could not be read: {error}").problem
        self._tell_end(self)

    async def _send(self) -> None:
        self._total = sum(parcel.stored_bytes for parcel in await self._ports.carrier.parcels(self._move.vm.id))
        tries, before = 0, -1
        while True:
            try:
                async with self._door.line(self._move.id, self._move.peer, self._landing) as line:
                    await send_files(line, self._ports.carrier, self._move.vm.id, self._told)
                return
            except Unavailable as error:
                tries, before = (tries + 1, before) if self._sent == before else (1, self._sent)
                if tries > len(RETRY_SECONDS):
                    raise
                log.info("carry_again", code=error.code, detail=error.detail)
            await self._clock.sleep(RETRY_SECONDS[tries - 1])

    async def _told(self, size: int) -> None:
        self._sent += size
        seconds = max(self._clock.monotonic() - self._began, 0.001)
        cap = self._move.terms.bandwidth_mib_s_max * _MIB
        if cap and self._sent / cap > seconds:
            await self._clock.sleep(self._sent / cap - seconds)
        self.progress = min(1.0, self._sent / self._total) if self._total else 0.0
        self.figures = Figures(
            elapsed_seconds=seconds,
            disk_total_mib=self._total / _MIB,
            disk_remaining_mib=max(0, self._total - self._sent) / _MIB,
            disk_sent_mib=self._sent / _MIB,
            bandwidth_mib_s=self._sent / _MIB / seconds,
        )
