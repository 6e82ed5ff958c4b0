"""The schema that the migrations make is the one of tables.py, on both engines, whoever starts first."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from houyi.model.errors import Unavailable
from houyi.store import tables
from houyi.store.database import MIGRATION_LOCK
from houyi.store.store import Store, newest_revision
from postgres import Postgres
from stores import ENGINES


async def test_migrations_make_what_tables_say(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
            return not (kind == "table" and name == MIGRATION_LOCK)

        options = {"include_object": ours, "compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))

    assert await store.read(differences) == []


async def test_a_planted_difference_is_found(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/x.db")
    await store.close()
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("ALTER TABLE vm_type ADD COLUMN surprise TEXT")
    connection.close()
    store = await Store.open(f"sqlite:///{tmp_path}/x.db")
    found = await store.read(lambda c: compare_metadata(MigrationContext.configure(c), tables.metadata))
    assert [one[0] for one in found] == ["remove_column"]
    await store.close()


async def test_servers_that_start_at_once_on_an_empty_database(postgres: Postgres) -> None:
    postgres.sql("CREATE DATABASE empty_houyi")
    stores = await asyncio.gather(*(Store.open(postgres.url("empty_houyi")) for _ in range(4)))
    assert [await store.read(newest_revision) for store in stores] == [0] * 4
    for store in stores:
        await store.close()
    postgres.sql("DROP DATABASE empty_houyi WITH (FORCE)")


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_store_of_a_newer_version_is_left_alone(engine: str, tmp_path: Path, postgres: Postgres) -> None:
    if engine == "postgres":
        postgres.sql("CREATE DATABASE newer_houyi")
    url = postgres.url("newer_houyi") if engine == "postgres" else f"sqlite:///{tmp_path}/x.db"
    store = await Store.open(url)
    await store.apply([], [lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None])
    await store.close()
    with pytest.raises(Unavailable) as caught:
        await Store.open(url)
    assert caught.value.code == "store_newer"
