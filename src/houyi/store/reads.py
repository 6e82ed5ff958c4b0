"""Reads that wait share a snapshot: its BEGIN, its COMMIT and its way to the database's thread or socket are paid once for all of them.

A snapshot begins after every one of its reads was asked for, so each sees at least what was committed when it was asked.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from houyi.store.database import READERS, Database
from houyi.store.trouble import TROUBLE, is_callers

T = TypeVar("T")
View = Callable[[Connection], T]

TOGETHER = 16
"""Reads in one snapshot: more would let the first wait for the last without saving much."""


@dataclass(eq=False, slots=True)
class _Asked:
    view: View[Any]
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


class Reads:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Asked] = deque()
        self._lanes: set[asyncio.Task[None]] = set()

    async def read(self, view: View[T]) -> T:
        """What `view` returns or raises; TROUBLE: the database's own failure."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(view, done))
        if len(self._lanes) < READERS:
            lane = asyncio.create_task(self._empty(), name="store-reader")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await done

    async def close(self) -> None:
        """Finish what waits."""
        await asyncio.gather(*self._lanes)

    async def _empty(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            for asked, outcome in zip(together, await self._look(together), strict=True):
                if asked.done.done():
                    continue
                if isinstance(outcome, _Raised):
                    asked.done.set_exception(outcome.error)
                else:
                    asked.done.set_result(outcome)

    async def _look(self, together: Sequence[_Asked]) -> list[Any]:
        """The outcome of each. Where one's own values upset the database, and with it the snapshot, each gets one of its own."""
        try:
            return await self._database.read(lambda connection: [_outcome(connection, asked.view) for asked in together])
        except Exception as error:
            if len(together) == 1 or not is_callers(error):
                return [_Raised(error)] * len(together)
        return [outcome for asked in together for outcome in await self._look([asked])]


def _outcome(connection: Connection, view: View[Any]) -> Any:
    try:
        return view(connection)
    except TROUBLE:
        raise
    except Exception as error:
        # A future cannot carry a StopIteration.
        return _Raised(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
