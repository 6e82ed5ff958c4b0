"""Several servers on one PostgreSQL, and a PostgreSQL that goes away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import insert

from houyi.model.errors import Conflict, Unavailable
from houyi.store import tables
from houyi.store.changes import changes_since
from houyi.store.leases import take_lease
from houyi.store.mutation import Mutation, touch
from houyi.store.store import Store, newest_revision
from postgres import running_postgres

Two = tuple[Store, Store]


@pytest.fixture
async def two(new_url: Callable[[str], str]) -> AsyncIterator[Two]:
    url = new_url("postgres")
    a, b = await Store.open(url), await Store.open(url)
    yield a, b
    await a.close()
    await b.close()


def put(object_id: str) -> Mutation:
    def write(connection, revision: int) -> None:  # type: ignore[no-untyped-def]
        connection.execute(insert(tables.project).values(id=object_id, name=object_id, created_at=1.0, revision=revision))

    return Mutation("project", object_id, None, write)


async def test_revisions_are_gapless_and_in_commit_order(two: Two) -> None:
    """A watcher that always reads on from the last revision that it saw misses nothing, while both servers write."""
    a, b = two
    seen: list[tuple[int, str]] = []

    async def watch() -> None:
        last = 0
        while len(seen) < 120:
            await b.wait(last, 5.0)
            for change in await b.read(lambda c, last=last: changes_since(c, last, ("project",), None)):  # type: ignore[misc]
                seen.append((change.revision, change.id))
                last = change.revision

    async def write(store: Store, name: str) -> list[int]:
        return [await store.apply([put(f"{name}{number}")]) for number in range(20)]

    async with asyncio.timeout(60):
        _, *revisions = await asyncio.gather(watch(), *(write(store, f"{turn}-{name}-") for turn in range(3) for store, name in ((a, "a"), (b, "b"))))
    assert [revision for revision, _ in seen] == list(range(1, 121))
    assert sorted(revision for one in revisions for revision in one) == list(range(1, 121))
    assert len({object_id for _, object_id in seen}) == 120


async def test_the_other_servers_writes_are_heard_at_once(two: Two) -> None:
    a, b = two
    await b.wait(0, 0.2)  # its listener is up
    for revision in (1, 2, 3):
        waiting = asyncio.create_task(b.wait(revision - 1, 30.0))
        await asyncio.sleep(0.01)
        before = time.monotonic()
        await a.apply([touch("vm", "v", None)])
        assert await waiting == revision
        assert time.monotonic() - before < 0.9, "by notification, not by looking every second"


async def test_a_lease_is_held_by_one(two: Two) -> None:
    a, b = two
    got = await asyncio.gather(*(store.apply([take_lease("placement", name, 100.0, 10.0)]) for store, name in ((a, "a"), (b, "b"))), return_exceptions=True)
    assert sorted(type(one).__name__ for one in got) == ["Conflict", "int"]
    winner, loser = (a, b) if isinstance(got[0], int) else (b, a)
    mine, theirs = ("a", "b") if winner is a else ("b", "a")
    await winner.apply([take_lease("placement", mine, 105.0, 10.0)])
    with pytest.raises(Conflict) as caught:
        await loser.apply([take_lease("placement", theirs, 114.0, 10.0)])
    assert caught.value.code == "lease_held"
    await loser.apply([take_lease("placement", theirs, 115.5, 10.0)])
    with pytest.raises(Conflict):
        await winner.apply([take_lease("placement", mine, 116.0, 10.0)])
    await winner.apply([take_lease("hosts", mine, 116.0, 10.0)])
    assert (a.revision, b.revision) == (0, 0), "leases are not told to watchers"


async def test_a_database_that_dies_is_got_over_and_loses_nothing() -> None:
    """kill -9 of PostgreSQL under load, three times: what was acknowledged is there, what was not is answered."""
    with running_postgres(durable=True) as server:
        server.sql("CREATE DATABASE houyi")
        store = await Store.open(server.url("houyi"))
        acknowledged: set[str] = set()

        async def write(writer: int, round_: int, enough: asyncio.Event) -> None:
            for number in range(10_000):
                name = f"{round_}-{writer}-{number}"
                await store.apply([put(name)])
                acknowledged.add(name)
                if number == 5:
                    enough.set()

        for round_ in range(3):
            enough = asyncio.Event()
            writers = [asyncio.create_task(write(writer, round_, enough)) for writer in range(8)]
            await enough.wait()
            server.kill()
            async with asyncio.timeout(60):
                got = await asyncio.gather(*writers, return_exceptions=True)
            assert [one.code for one in got if isinstance(one, Unavailable)] == ["store_unreachable"] * 8
            with pytest.raises(Unavailable):
                await store.read(newest_revision)
            server.start()
            async with asyncio.timeout(60):
                while True:
                    try:
                        await store.apply([touch("vm", "after", None)])
                        break
                    except Unavailable:
                        await asyncio.sleep(0.1)
        changes = await store.read(lambda c: changes_since(c, 0, ("project", "vm"), None, 100_000))
        assert acknowledged <= {change.id for change in changes}
        assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
        await store.close()
