"""kill -9 of the server's process under load, again and again: what was acknowledged is there, and nothing is there by half."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe

import pytest
from sqlalchemy import Connection, insert, select

from houyi.store import tables
from houyi.store.changes import changes_since
from houyi.store.mutation import Mutation
from houyi.store.store import Store, newest_revision

KILLS = {"sqlite": int(os.environ.get("HOUYI_KILLS", "10")), "postgres": 3}
WRITERS = 8

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["houyi.store.store", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.asyncpg", __name__])


def pair(name: str) -> list[Mutation]:
    """Two objects that must come together."""

    def write(object_id: str) -> Mutation:
        def one(connection: Connection, revision: int) -> None:
            connection.execute(insert(tables.project).values(id=object_id, name=object_id, created_at=1.0, revision=revision))

        return Mutation("project", object_id, None, one)

    return [write(f"{name}/left"), write(f"{name}/right")]


def write_until_killed(url: str, life: int, acknowledge: Pipe) -> None:
    """The process that is killed: says what was acknowledged."""

    async def main() -> None:
        store = await Store.open(url)

        async def write(writer: int) -> None:
            for number in range(1_000_000):
                name = f"{life}-{writer}-{number}"
                acknowledge.send((name, await store.apply(pair(name))))

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))

    asyncio.run(main())


@pytest.mark.parametrize("engine", KILLS)
async def test_nothing_acknowledged_is_lost(engine: str, new_url: Callable[[str], str]) -> None:
    url = new_url(engine)
    acknowledged: dict[str, int] = {}
    for life in range(KILLS[engine]):
        mine, theirs = _processes.Pipe(duplex=False)
        process = _processes.Process(target=write_until_killed, args=(url, life, theirs))
        process.start()
        theirs.close()
        for _ in range(10 + 3 * life):
            assert mine.poll(60), "the writer does not get on"
            name, revision = mine.recv()
            acknowledged[name] = revision
        process.kill()
        process.join()
        try:
            while True:  # what it said before it died
                name, revision = mine.recv()
                acknowledged[name] = revision
        except EOFError:
            mine.close()

    store = await Store.open(url)
    there = {row.id: row.revision for row in await store.read(lambda c: c.execute(select(tables.project.c.id, tables.project.c.revision)).all())}
    changes = await store.read(lambda c: changes_since(c, 0, ("project",), None, 1_000_000))
    for name, revision in acknowledged.items():
        assert there.get(f"{name}/left") == there.get(f"{name}/right") == revision
    assert {name.removesuffix("/left") for name in there if name.endswith("/left")} == {
        name.removesuffix("/right") for name in there if name.endswith("/right")
    }
    assert sorted((change.revision, change.id) for change in changes) == sorted((revision, name) for name, revision in there.items())
    assert [change.revision for change in changes[::2]] == list(range(1, len(there) // 2 + 1))
    assert await store.read(newest_revision) == len(there) // 2
    await store.close()
