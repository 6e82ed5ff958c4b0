"""Answers what the server asks of the way to other hosts: opens the door for one that measures, or measures itself (lines.py)."""

from collections.abc import Collection

from houyi.agent.door import Admission, Door
from houyi.agent.ledger import Ledger
from houyi.agent.lines import Lines
from houyi.agent.moves import refused
from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.model.errors import HouyiError, Problem
from houyi.model.ids import MigrationId
from houyi.model.line import LineAnswer, LineAsk
from houyi.model.migration import Landing

log = get_log(__name__)

LATER = Problem("line_not_measured", "the way could not be measured now: guests are being sent, or the other host was not reached; it is tried again later")
TURN_SECONDS = 0.5
"""How often it is looked whether something else is asked."""


class LineAsks:
    """Level-triggered: what is asked no more is forgotten, its door shut."""

    def __init__(self, door: Door, lines: Lines, ledger: Ledger, reports: Reports, clock: Clock) -> None:
        self._door, self._lines, self._ledger, self._reports, self._clock = door, lines, ledger, reports, clock
        self._admitted: set[MigrationId] = set()

    async def run(self) -> None:
        """Until cancelled; then no door is left open."""
        try:
            while True:
                try:
                    await self.turn()
                except Exception:  # whatever it is: forecasts get worse, nothing else
                    log.exception("line_ask_failed")
                await self._clock.sleep(TURN_SECONDS)
        finally:
            await self._shut(frozenset())

    async def turn(self) -> None:
        desired = self._ledger.desired
        asks = {} if desired is None else {ask.id: ask for ask in desired.lines}
        await self._shut(asks)
        self._reports.lines.keep(asks)
        for ask in asks.values():
            if ask.id not in self._reports.lines.answers and (not ask.source or ask.port):
                self._reports.lines.put(ask.id, await self._answer(ask))

    async def _shut(self, asked: Collection[MigrationId]) -> None:
        """The doors that are open for anything else."""
        for gone in self._admitted - set(asked):
            self._admitted.discard(gone)
            await self._door.shut(gone)

    async def _answer(self, ask: LineAsk) -> LineAnswer:
        try:
            if not ask.source:
                return await self._open(ask)
            landing = Landing(address=ask.address, port=ask.port, tls_name="", domain_xml="", copies_disk=False)
            await self._lines.measure(ask.id, ask.peer, landing)
        except HouyiError as error:
            return LineAnswer(id=ask.id, error=error.problem)
        rates = self._lines.to(ask.peer)
        return LineAnswer(id=ask.id, rates=rates, error=None if rates is not None else LATER)

    async def _open(self, ask: LineAsk) -> LineAnswer:
        admission = Admission(move=ask.id, peer=ask.peer, libvirt=refused, files=refused, go=refused, broke=_nothing)
        address, port = await self._door.admit(admission)
        self._admitted.add(ask.id)
        return LineAnswer(id=ask.id, address=address, port=port)


def _nothing(_error: HouyiError) -> None:
    """No libvirt comes through this door."""
