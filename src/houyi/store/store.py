"""The one way to write and the one way to read, on SQLite and PostgreSQL from the same code.

One writer task folds the mutations that wait into one durable commit (group commit is worth a factor of twenty; shared LIBRARIES
findings in docs/BENCHMARKS.md) and takes their revisions from a counter row in the same transaction: revisions are gapless and in commit
order, so that a watcher that reads `revision > last` misses nothing, also with several servers. Each `apply` runs in a savepoint of the
batch: what fails fails alone.

What reads and writes is a plain function over a synchronous Connection; on SQLite it runs in threads (one for writing), on PostgreSQL
through `AsyncConnection.run_sync`.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from houyi.base.log import get_log
from houyi.model.errors import Conflict, HouyiError, Invalid, Unavailable
from houyi.store import tables
from houyi.store.migrate import upgrade
from houyi.store.mutation import Mutation, Precondition

T = TypeVar("T")
View = Callable[[Connection], T]

BATCH_LIMIT = 512
"""Applies in one commit: bounds the time that one commit holds the counter's lock and a caller waits for strangers."""
POLL_SECONDS = 1.0
"""How often a server on PostgreSQL looks for other servers' writes should a notification be lost."""
CHANNEL = "houyi_revision"
MIGRATION_LOCK = "migration_lock"
"""An empty table on PostgreSQL whose lock whoever migrates holds."""
_READERS = 4

_TROUBLE = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, UnicodeError, OverflowError)
"""What a database or its driver raises."""
_VALUE_STATES = ("22", "23")
"""SQLSTATE classes 'data exception' and 'integrity constraint violation'."""

log = get_log(__name__)


class _Database(Protocol):
    async def write(self, work: Callable[[Connection], T]) -> T: ...
    async def read(self, view: View[T]) -> T: ...
    async def close(self) -> None: ...


class _Sqlite:
    """A writer thread with its own connection, a few readers with theirs; WAL lets them go on side by side."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url)
        if self._engine.url.database:
            Path(self._engine.url.database).touch(mode=0o600)  # secrets' digests and user-data; its journals get the same mode
        upgrade(self._engine)
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(_READERS, "store-reader")

    async def write(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._engine.connect().execution_options(houyi_write=True) as connection, connection.begin():
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def read(self, view: View[T]) -> T:
        def run() -> T:
            with self._engine.connect() as connection, connection.begin():
                return view(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=_READERS + 1, connect_args={"check_same_thread": False, "timeout": 30, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def set_up(dbapi: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            dbapi.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own BEGIN comes too late for savepoints; a writer takes its lock at once rather than fail when it first writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("houyi_write") else "BEGIN")

    return engine


class _Postgres:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> "_Postgres":
        engine = create_async_engine(url, pool_size=_READERS + 2, pool_pre_ping=True)
        try:
            # Two servers that start at once must not both migrate; of two that make this table at once one is refused, and then it is there.
            with suppress(IntegrityError, ProgrammingError):
                async with engine.begin() as connection:
                    await connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {MIGRATION_LOCK} (id integer PRIMARY KEY)")
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"LOCK TABLE {MIGRATION_LOCK} IN EXCLUSIVE MODE")
                await connection.run_sync(upgrade)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.connect() as connection, connection.begin():
            return await connection.run_sync(work)

    async def read(self, view: View[T]) -> T:
        async with self._engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                return await connection.run_sync(view)

    async def close(self) -> None:
        await self._engine.dispose()


@dataclass(eq=False, slots=True)
class _Waiting:
    mutations: Sequence[Mutation]
    preconditions: Sequence[Precondition]
    done: asyncio.Future[int]


@dataclass(slots=True)
class StoreFigures:
    """Counted since the start, for /metrics."""

    batches: int = 0
    applied: int = 0
    refused: int = 0


class Store:
    """Open one with `await Store.open(url)`; all its methods are for one event loop."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
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
            database: _Database = _Sqlite(url) if url.startswith("sqlite:") else await _Postgres.open(url)
            store = cls(database)
            store._revision = await database.read(newest_revision)
        except CommandError as error:
            raise Unavailable("store_newer", f"the store was written by a newer version: run that one ({error})") from error
        except _TROUBLE as error:
            raise Unavailable("store_unreachable", f"the store cannot be opened: {type(error).__name__}: {error}") from error
        store._tasks.append(asyncio.create_task(store._write_forever(), name="store-writer"))
        if isinstance(database, _Postgres):
            store._tasks.append(asyncio.create_task(store._listen_forever(url), name="store-listener"))
        return store

    async def apply(self, mutations: Sequence[Mutation], preconditions: Sequence[Precondition] = ()) -> int:
        """Write all or nothing, durably; return the revision. A caller that is cancelled does not undo what is already under way.

        :raise HouyiError: what a precondition or mutation raised. :raise Conflict: `conflict`: a constraint refused. :raise Unavailable: `store_unreachable`.
        """
        if self._closed:
            raise Unavailable("store_closed", "the server is shutting down: try again in a moment")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(mutations, preconditions, done))
        self._work.set()
        return await done

    async def read(self, view: View[T]) -> T:
        """Run a read in one consistent snapshot.

        :raise HouyiError: what the view raised. :raise Invalid: `text_invalid`: no text of the database. :raise Unavailable: `store_unreachable`.
        """
        if self._closed:
            raise Unavailable("store_closed", "the server is shutting down: try again in a moment")
        try:
            return await self._database.read(view)
        except _TROUBLE as error:
            if _is_callers(error):
                raise _refusal(error) from error
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

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._database.write(lambda connection: _commit(connection, batch))
        except Exception as error:
            causes = _causes(error)
            log.error("store_write_failed", errors=causes, batch=len(batch))
            full = any(words in cause for cause in causes for words in ("disk is full", "No space left"))
            outcomes = [_full() if full else _unreachable() for _ in batch]
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

    async def _listen_forever(self, url: str) -> None:
        """Hear of other servers' writes: a notification a batch, and a look every POLL_SECONDS in case one is lost."""
        heard = asyncio.Event()
        dsn = url.replace("postgresql+asyncpg:", "postgresql:")
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(dsn)
                        await connection.add_listener(CHANNEL, lambda *_: heard.set())
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):
                            await heard.wait()
                    heard.clear()
                    self._tell(await self._database.read(newest_revision))
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


def _commit(connection: Connection, batch: list[_Waiting]) -> list[int | Exception]:
    """Write a batch within the transaction that is open; one outcome each: the revision, or why it was refused."""
    counter = tables.counter
    # The lock on this row makes all writers of all servers take turns: revisions are in commit order.
    revision = connection.execute(select(counter.c.value).where(counter.c.name == "revision").with_for_update()).scalar_one()
    outcomes: list[int | Exception] = []
    changes: list[dict[str, Any]] = []
    for waiting in batch:
        try:
            with connection.begin_nested():
                for precondition in waiting.preconditions:
                    precondition(connection)
                for mutation in waiting.mutations:
                    mutation.write(connection, revision + 1)
        except _TROUBLE as error:
            if not _is_callers(error):
                raise
            outcomes.append(_refusal(error))
            continue
        except Exception as error:
            # A future cannot carry a StopIteration, and nothing may stop the writer.
            outcomes.append(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            continue
        told = {(m.kind, m.id): m for m in waiting.mutations if not m.quiet}
        if told:
            revision += 1
            changes += [{"revision": revision, "kind": m.kind, "id": m.id, "project_id": m.project_id, "op": m.op.value} for m in told.values()]
        outcomes.append(revision)
    if changes:
        connection.execute(insert(tables.change), changes)
        connection.execute(update(counter).where(counter.c.name == "revision").values(value=revision))
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_notify(CHANNEL, "")))
    return outcomes


def _unreachable() -> Unavailable:
    return Unavailable("store_unreachable", "the store cannot be written to now: try again in a moment")


def _full() -> Unavailable:
    return Unavailable("store_disk_full", "the disk of the store is full: make room, then try again")


def _causes(error: BaseException) -> list[str]:
    """First lines, the newest first: when SQLite itself has rolled back, the failure of our own rollback hides why."""
    causes = []
    now: BaseException | None = error
    while now is not None:
        causes.append(f"{type(now).__name__}: {str(now).partition(chr(10))[0]}")
        now = now.__cause__ or now.__context__
    return causes


def _is_callers(error: Exception) -> bool:
    """Whether only the caller's own values are at fault, so that the transaction and everybody else's writes go on."""
    if isinstance(error, DBAPIError):
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        by_value = isinstance(error, IntegrityError | DataError) or sqlstate[:2] in _VALUE_STATES
        return by_value and not error.connection_invalidated
    return isinstance(error, UnicodeError | OverflowError)


def _refusal(error: Exception) -> HouyiError:
    if isinstance(error, IntegrityError):
        return _explain(error)
    return Invalid("text_invalid", "a text with NUL or half a surrogate pair, or a number beyond 64 bits, cannot be stored or looked for: correct it")


def _explain(error: IntegrityError) -> Conflict:
    text = str(error.orig).splitlines()[0]  # the second line quotes the caller's values
    if "FOREIGN KEY" in text or "foreign key" in text:
        return Conflict("in_use", "something still refers to it, or what it refers to is gone: look again")
    if "nic.mac" in text or "pk_nic" in text:
        return Conflict("mac_taken", "that MAC is taken: try again, another one is chosen")
    if "address" in text:
        return Conflict("address_taken", "that address is taken on this network: choose another, or leave the choice to the platform")
    if "migration_course" in text:
        return Conflict("vm_migrating", "the VM is on a move already, or what is left of one is still being removed: see `houyi migration list`")
    if "name" in text:
        return Conflict("name_taken", "that name is taken: choose another")
    return Conflict("conflict", f"a constraint of the store refused it: {text}")
