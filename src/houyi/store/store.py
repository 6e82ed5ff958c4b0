"""The one way to write and the one way to read, on SQLite and PostgreSQL from the same code.

One writer task folds the mutations that wait into one durable commit (worth a factor of twenty: docs/BENCHMARKS.md) and takes their
revisions from a counter row in the same transaction: revisions are gapless and in commit order, so that a watcher that reads
`revision > last` misses nothing, also with several servers. What is refused is refused alone (batch.py). Reads that wait share a
snapshot (reads.py).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from alembic.util import CommandError
from sqlalchemy import Connection, select

from houyi.base.log import get_log
from houyi.model.errors import Unavailable
from houyi.store import tables
from houyi.store.batch import CHANNEL, Upset, Waiting, commit
from houyi.store.database import Database, Postgres, Sqlite
from houyi.store.mutation import Mutation, Precondition
from houyi.store.reads import Reads, View
from houyi.store.trouble import TROUBLE, causes, full, is_callers, refusal, unreachable

T = TypeVar("T")

BATCH_LIMIT = 512
"""Applies in one commit: bounds the time that one commit holds the counter's lock and a caller waits for strangers."""
POLL_SECONDS = 1.0
"""How often a server on PostgreSQL looks for other servers' writes should a notification be lost."""

log = get_log(__name__)


@dataclass(slots=True)
class StoreFigures:
    """Counted since the start, for /metrics."""

    batches: int = 0
    applied: int = 0
    refused: int = 0


class Store:
    """Open one with `await Store.open(url)`; all its methods are for one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Reads(database)
        self._waiting: list[Waiting] = []
        self._work = asyncio.Event()
        self._news = asyncio.Event()
        self._revision = 0
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self.figures = StoreFigures()

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Connect, bring the schema up to date, and start the writer. `sqlite:///path` or `postgresql+asyncpg://...`.

        :raise Unavailable: `store_unreachable`; `store_newer`: a newer version of the platform has written it.
        """
        try:
            database: Database = Sqlite(url) if url.startswith("sqlite:") else await Postgres.open(url)
            store = cls(database)
            store._revision = await database.read(newest_revision)
        except CommandError as error:
            raise Unavailable("store_newer", f"the store was written by a newer version: run that one ({error})") from error
        except TROUBLE as error:
            raise Unavailable("store_unreachable", f"the store cannot be opened: {type(error).__name__}: {error}") from error
        store._tasks.append(asyncio.create_task(store._write_forever(), name="store-writer"))
        if isinstance(database, Postgres):
            store._tasks.append(asyncio.create_task(store._listen_forever(url), name="store-listener"))
        return store

    async def apply(self, mutations: Sequence[Mutation], preconditions: Sequence[Precondition] = ()) -> int:
        """Write all or nothing, durably; return the revision. A caller that is cancelled does not undo what is already under way.

        :raise HouyiError: what a precondition or mutation raised. :raise Conflict: `conflict`: a constraint refused. :raise Unavailable: `store_unreachable`.
        """
        if self._closed:
            raise Unavailable("store_closed", "the server is shutting down: try again in a moment")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(mutations, preconditions, done))
        self._work.set()
        return await done

    async def read(self, view: View[T]) -> T:
        """Run a read in one consistent snapshot.

        :raise HouyiError: what the view raised. :raise Invalid: `text_invalid`: no text of the database. :raise Unavailable: `store_unreachable`.
        """
        if self._closed:
            raise Unavailable("store_closed", "the server is shutting down: try again in a moment")
        try:
            return await self._reads.read(view)
        except TROUBLE as error:
            if is_callers(error):
                raise refusal(error) from error
            log.error("store_read_failed", error=str(error))
            raise Unavailable("store_unreachable", "the store does not answer: try again in a moment") from error

    async def wait(self, since: int, seconds: float) -> int:
        """The newest revision, as soon as it is above `since`, else after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._revision <= since and not self._closed:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            news = self._news
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()
        return self._revision

    @property
    def revision(self) -> int:
        """The newest revision known to this process."""
        return self._revision

    async def close(self) -> None:
        """Finish what waits, then let go."""
        self._closed = True
        self._work.set()
        self._tell(self._revision)
        writer, *others = self._tasks
        await writer
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._reads.close()
        await self._database.close()

    async def _write_forever(self) -> None:
        while True:
            await self._work.wait()
            batch, self._waiting = self._waiting[:BATCH_LIMIT], self._waiting[BATCH_LIMIT:]
            if not batch:
                if self._closed:
                    return
                self._work.clear()
                continue
            await self._write(batch)

    async def _write(self, batch: list[Waiting]) -> None:
        try:
            try:
                outcomes = await self._database.write(lambda connection: commit(connection, batch))
            except Upset:
                outcomes = await self._database.write(lambda connection: commit(connection, batch, careful=True))
        except Exception as error:
            why = causes(error)
            log.error("store_write_failed", errors=why, batch=len(batch))
            no_room = any(words in cause for cause in why for words in ("disk is full", "No space left"))
            outcomes = [full() if no_room else unreachable() for _ in batch]
        self.figures.batches += 1
        newest = self._revision
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, int):
                newest = max(newest, outcome)
                self.figures.applied += 1
            else:
                self.figures.refused += 1
            if waiting.done.done():
                continue
            if isinstance(outcome, int):
                waiting.done.set_result(outcome)
            else:
                waiting.done.set_exception(outcome)
        self._tell(newest)

    def _tell(self, revision: int) -> None:
        if revision > self._revision or self._closed:
            self._revision = max(revision, self._revision)
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _hear(self, *said: object) -> None:
        revision = str(said[-1])
        if revision.isdigit():
            self._tell(int(revision))

    async def _listen_forever(self, url: str) -> None:
        """Hear of other servers' writes: a notification a batch says its revision, and a look every POLL_SECONDS finds what was lost."""
        dsn = url.replace("postgresql+asyncpg:", "postgresql:")
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(dsn)
                        await connection.add_listener(CHANNEL, self._hear)
                    self._tell(await self._database.read(newest_revision))
                    await asyncio.sleep(POLL_SECONDS)
                except Exception as error:
                    log.warning("store_listen_failed", error=str(error))
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            if connection is not None and not connection.is_closed():
                connection.terminate()


def newest_revision(connection: Connection) -> int:
    """The newest revision that is committed."""
    revision: int = connection.execute(select(tables.counter.c.value).where(tables.counter.c.name == "revision")).scalar_one()
    return revision
