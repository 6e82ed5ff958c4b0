"""How much the way to another host carries, found out before the first move there, since a guest's fate in a move depends on it.

For a third of a second one connection through the peer's door, which is open for the move, then several at once: what has been acknowledged counts. It is never
done while a guest is being sent from here, not twice at a time, and not again within a day; a move waits for it, and goes on without it if it fails.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from houyi.agent.door import Door, Line
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.model.errors import HouyiError
from houyi.model.ids import HostId, MigrationId
from houyi.model.line import LineRates
from houyi.model.migration import Landing
from houyi.planning.migration.forecast import CHANNELS
from houyi.wire.door import Block, Complete, Entered, Have

log = get_log(__name__)

SECONDS = 0.3
"""For each of the two: TCP has found its pace by then on any line within a building."""
PATIENCE_SECONDS = 5.0
"""For all of it, on a line that stalls."""
FRESH_SECONDS = 86400.0
BLOCK_BYTES = 256 << 10
BLOCKS_MAX = 2048
"""Of a connection: 512 MiB."""
AHEAD = 8
"""Blocks that are under way before the first is acknowledged."""


@dataclass(frozen=True, slots=True)
class _Known:
    rates: LineRates
    at: float


class Lines:
    """Of one agent."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door, self._clock = door, clock
        self._known: dict[HostId, _Known] = {}
        self._sending = 0
        self._measuring = False

    def to(self, peer: HostId) -> LineRates | None:
        """None: not measured."""
        known = self._known.get(peer)
        return None if known is None else known.rates

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While a guest is being sent."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    async def measure(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        """If it is due, and nothing is in the way."""
        known, now = self._known.get(peer), self._clock.monotonic()
        if self._sending or self._measuring or (known is not None and now - known.at < FRESH_SECONDS):
            return
        self._measuring = True
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                one, several = [await self._rate(move, peer, landing, connections) for connections in (1, CHANNELS)]
        except (HouyiError, TimeoutError) as error:
            log.info("line_not_measured", peer=peer, error=str(error) or "it took too long")
        else:
            self._known[peer] = _Known(LineRates(one_mib_s=one, all_mib_s=max(one, several)), now)
            log.info("line_measured", peer=peer, one_mib_s=round(one), all_mib_s=round(several))
        finally:
            self._measuring = False

    async def _rate(self, move: MigrationId, peer: HostId, landing: Landing, connections: int) -> float:
        async with AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(self._door.line(move, peer, landing, "line")) for _ in range(connections)]
            began = self._clock.monotonic()
            sent = await asyncio.gather(*(self._fill(line, began + SECONDS) for line in lines))
            return sum(sent) / (1 << 20) / max(self._clock.monotonic() - began, 0.001)

    async def _fill(self, line: Line, until: float) -> int:
        """Bytes that have arrived."""
        data, sent, heard = bytes(BLOCK_BYTES), 0, 0
        while sent < BLOCKS_MAX and self._clock.monotonic() < until:
            await line.say(Block(offset=sent * BLOCK_BYTES, data=data))
            sent += 1
            if sent - heard >= AHEAD:
                await line.hear()
                heard += 1
        await line.say(Complete())
        while isinstance(await line.hear(), Have):
            heard += 1
        return heard * BLOCK_BYTES


async def swallow(line: Line) -> None:
    """The other end of it: each block is acknowledged, and forgotten. :raise Unavailable: `door_lost`."""
    blocks = 0
    while isinstance(said := await line.hear(), Block) and blocks < BLOCKS_MAX:
        blocks += 1
        await line.say(Have(offset=said.offset + len(said.data)))
    await line.say(Entered())
