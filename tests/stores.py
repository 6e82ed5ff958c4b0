"""Stores for tests: empty ones on SQLite and on PostgreSQL, made quickly by copying one that is migrated already."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from houyi.store.store import Store
from houyi.store.tables import metadata
from postgres import Postgres, running_postgres

ENGINES = ("sqlite", "postgres")

NewUrl = Callable[[str], str]
"""engine -> the URL of a fresh, empty, migrated database."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of this test run; a crash of the machine may lose its data."""
    with running_postgres() as server:
        yield server


def _migrate(url: str) -> None:
    """In a thread with an event loop of its own, since the test that asks first may be in one."""

    async def open_and_close() -> None:
        store = await Store.open(url)
        await store.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, open_and_close()).result()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "houyi.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    postgres.sql("CREATE DATABASE template_houyi")
    _migrate(postgres.url("template_houyi"))
    return "template_houyi"


def _give_back(server: Postgres, name: str, free: list[str]) -> None:
    """Empty a database for the next test; one that a failed test has left locked goes."""
    tables = ", ".join(f'"{table}"' for table in metadata.tables)
    try:
        server.sql("SET lock_timeout = '2s'", f"TRUNCATE {tables}", "INSERT INTO counter VALUES ('revision', 0), ('floor', 0)", database=name)
    except RuntimeError:
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")
    else:
        free.append(name)


@pytest.fixture(scope="session")
def free_databases() -> list[str]:
    """Databases on the PostgreSQL server that nobody uses: emptying one is four times faster than making one."""
    return []


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewUrl]:
    taken: list[tuple[Postgres, str]] = []

    def new(engine: str) -> str:
        if engine == "sqlite":
            path = tmp_path / f"houyi_{next(_numbers)}.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            return f"sqlite:///{path}"
        server: Postgres = request.getfixturevalue("postgres")
        template: str = request.getfixturevalue("postgres_template")
        free: list[str] = request.getfixturevalue("free_databases")
        if free:
            name = free.pop()
        else:
            name = f"houyi_{next(_numbers)}"
            server.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        taken.append((server, name))
        return server.url(name)

    yield new
    for server, name in taken:
        _give_back(server, name, request.getfixturevalue("free_databases"))


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, new_url: NewUrl) -> str:
    """An empty database, on both engines in turn."""
    return new_url(request.param)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An empty store, on both engines in turn."""
    opened = await Store.open(store_url)
    yield opened
    await opened.close()
