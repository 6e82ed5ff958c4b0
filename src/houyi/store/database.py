"""The two engines behind one protocol: a transaction that writes, and a snapshot that is read.

What runs in them is a plain function over a synchronous Connection; on SQLite it runs in threads (one for writing), on PostgreSQL through `AsyncConnection.run_sync`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from houyi.store.migrate import upgrade

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4
"""Snapshots that are read at the same time."""
MIGRATION_LOCK = "migration_lock"
"""An empty table on PostgreSQL whose lock whoever migrates holds."""


class Database(Protocol):
    async def write(self, work: Work[T]) -> T:
        """In one durable transaction."""
        ...

    async def read(self, work: Work[T]) -> T:
        """In one consistent snapshot; may run twice, if the connection was lost."""
        ...

    async def close(self) -> None: ...


class Sqlite:
    """A writer thread with its own connection, a few readers with theirs; WAL lets them go on side by side."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url)
        if self._engine.url.database:
            Path(self._engine.url.database).touch(mode=0o600)  # secrets' digests and user-data; its journals get the same mode
        upgrade(self._engine)
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(READERS, "store-reader")

    async def write(self, work: Work[T]) -> T:
        def run() -> T:
            with self._engine.connect().execution_options(houyi_write=True) as connection, connection.begin():
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def read(self, work: Work[T]) -> T:
        def run() -> T:
            with self._engine.connect() as connection, connection.begin():
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=READERS + 1, connect_args={"check_same_thread": False, "timeout": 30, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def set_up(dbapi: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            dbapi.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own BEGIN comes too late for savepoints; a writer takes its lock at once rather than fail when it first writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("houyi_write") else "BEGIN")

    return engine


class Postgres:
    """One pool for writing, whose connections are tried before each batch, and one for snapshots, where a read can simply be done again."""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self._engine = engine
        snapshots = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._snapshots = create_async_engine(url, pool_size=READERS + 1, execution_options=snapshots)

    @classmethod
    async def open(cls, url: str) -> "Postgres":
        engine = create_async_engine(url, pool_size=2, pool_pre_ping=True)
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
        return cls(engine, url)

    async def write(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection, connection.begin():
            return await connection.run_sync(work)

    async def read(self, work: Work[T]) -> T:
        try:
            return await self._read(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return await self._read(work)  # an idle connection had been closed; by now the whole pool is new

    async def _read(self, work: Work[T]) -> T:
        async with self._snapshots.connect() as connection, connection.begin():
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._snapshots.dispose()
        await self._engine.dispose()
