"""The writer: all or nothing, alone in failure, in order, durable, and never stopped by a caller."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.util import await_only

from houyi.model.errors import Conflict, Invalid, Stale, Unavailable
from houyi.model.project import Project
from houyi.store import tables
from houyi.store.changes import changes_since
from houyi.store.mutation import Mutation, expect, touch
from houyi.store.rows.project import insert_project
from houyi.store.store import Store, newest_revision
from houyi.store.views.page import EVERYTHING
from houyi.store.views.project import get_project, list_projects
from made import a_project, new_id


def named(name: str) -> Mutation:
    return insert_project(Project(id=new_id(), name=name, created_at=1.0, revision=0))  # type: ignore[arg-type]


async def names(store: Store) -> set[str]:
    return {project.name for project in (await store.read(lambda c: list_projects(c, EVERYTHING))).items}


def refuse(_connection: Connection) -> None:
    raise Conflict("no", "no")


async def test_revisions_count_applies(store: Store) -> None:
    first = await store.apply([named("a"), named("b")])
    second = await store.apply([named("c")])
    assert (first, second, store.revision) == (1, 2, 2)
    assert await store.read(newest_revision) == 2
    assert (await store.read(lambda c: get_project(c, "c"))).revision == 2
    assert [change.revision for change in await store.read(lambda c: changes_since(c, 0, ("project",), None))] == [1, 1, 2]


async def test_many_at_once_share_commits_and_each_has_its_revision(store: Store) -> None:
    revisions = await asyncio.gather(*(store.apply([named(f"p{number}")]) for number in range(200)))
    assert sorted(revisions) == list(range(1, 201))
    assert store.figures.batches < 20
    assert len(await names(store)) == 200


async def test_what_fails_fails_alone(store: Store) -> None:
    """In one batch: a precondition, a mutation, a constraint and values that the database cannot hold."""

    def broken(_connection: Connection, _revision: int) -> None:
        raise KeyError("a bug")

    def stop(_connection: Connection, _revision: int) -> None:
        raise StopIteration

    def huge(connection: Connection, _revision: int) -> None:
        connection.execute(insert(tables.change).values(revision=1 << 70, kind="x", id="x", op="put"))

    await store.apply([named("taken")])
    asked = {
        "first": store.apply([named("first")]),
        "precondition": store.apply([named("x1")], [refuse]),
        "mutation": store.apply([named("x2"), Mutation("x", "x", None, broken)]),
        "constraint": store.apply([named("x3"), named("taken")]),
        "surrogate": store.apply([named("x4"), named("\ud800")]),
        "number": store.apply([named("x5"), Mutation("x", "x", None, huge)]),
        "stop": store.apply([named("x6"), Mutation("x", "x", None, stop)]),
        "last": store.apply([named("last")]),
    }
    got = dict(zip(asked, await asyncio.gather(*asked.values(), return_exceptions=True), strict=True))
    assert (got["first"], got["last"]) == (2, 3)
    assert [type(got[key]) for key in ("precondition", "mutation", "constraint", "surrogate", "number", "stop")] == [
        Conflict,
        KeyError,
        Conflict,
        Invalid,
        Invalid,
        RuntimeError,
    ]
    assert [got[key].code for key in ("precondition", "constraint", "surrogate", "number")] == ["no", "name_taken", "text_invalid", "text_invalid"]  # type: ignore[union-attr]
    assert await names(store) == {"taken", "first", "last"}
    assert store.figures.batches == 2


async def test_a_text_that_cannot_be_looked_for_is_the_callers_fault(store: Store) -> None:
    with pytest.raises(Invalid, match="cannot be stored or looked for"):
        await store.read(lambda c: get_project(c, "\ud800"))
    with pytest.raises(Invalid, match="cannot be stored or looked for"):
        await store.read(lambda c: changes_since(c, 1 << 70, ("project",), None))
    assert await store.read(newest_revision) == 0


async def test_no_update_is_lost_in_a_batch(store: Store) -> None:
    """Mutations of one object in one batch see each other."""
    await store.apply([Mutation("lease", "n", None, lambda c, _r: c.execute(insert(tables.lease).values(name="n", holder="", expires_at=0.0)) and None)])

    def more(connection: Connection, _revision: int) -> None:
        now = connection.execute(select(tables.lease.c.expires_at)).scalar_one()
        connection.execute(update(tables.lease).values(expires_at=now + 1))

    revisions = await asyncio.gather(*(store.apply([Mutation("lease", "n", None, more)]) for _ in range(100)))
    assert await store.read(lambda c: c.execute(select(tables.lease.c.expires_at)).scalar_one()) == 100
    changes = await store.read(lambda c: changes_since(c, 1, ("lease",), None))
    assert sorted(revisions) == [change.revision for change in changes] == list(range(2, 102))


async def test_of_writers_that_expect_the_same_revision_one_wins(store: Store) -> None:
    await store.apply([insert_project(a_project())])

    def rename(connection: Connection, revision: int) -> None:
        connection.execute(update(tables.project).values(name=f"n{revision}", revision=revision))

    asked = [store.apply([Mutation("project", "p", None, rename)], [expect(lambda c: get_project(c, a_project().id), 1)]) for _ in range(10)]
    got = await asyncio.gather(*asked, return_exceptions=True)
    assert [one for one in got if isinstance(one, int)] == [2]
    lost = [one for one in got if isinstance(one, Stale)]
    assert [(one.code, one.extra["revision"]) for one in lost] == [("revision_mismatch", 2)] * 9


async def test_quiet_mutations_are_not_told(store: Store) -> None:
    def write(connection: Connection, _revision: int) -> None:
        connection.execute(insert(tables.lease).values(name="n", holder="h", expires_at=1.0))

    assert await store.apply([Mutation("lease", "n", None, write, quiet=True)]) == 0
    assert store.revision == 0
    assert await store.read(lambda c: c.execute(select(tables.lease.c.holder)).scalar_one()) == "h"


async def test_a_touch_is_told_though_nothing_is_written(store: Store) -> None:
    await store.apply([touch("vm", "v", "p"), touch("vm", "v", "p")])
    changes = await store.read(lambda c: changes_since(c, 0, ("vm",), None))
    assert [(change.revision, change.id, change.project_id) for change in changes] == [(1, "v", "p")]


async def test_a_cancelled_caller_harms_nobody(store: Store) -> None:
    tasks = [asyncio.create_task(store.apply([named(f"p{number}")])) for number in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in got[::2])
    assert all(isinstance(one, int) for one in got[1::2])
    await store.apply([named("after")])
    assert {f"p{number}" for number in range(1, 30, 2)} | {"after"} <= await names(store)


async def test_close_finishes_what_waits_and_refuses_what_comes(store_url: str) -> None:
    store = await Store.open(store_url)
    tasks = [asyncio.create_task(store.apply([named(f"p{number}")])) for number in range(50)]
    waiter = asyncio.create_task(store.wait(1000, 60.0))
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*tasks)) == list(range(1, 51))
    await asyncio.wait_for(waiter, 5)
    with pytest.raises(Unavailable, match="shutting down"):
        await store.apply([named("late")])
    with pytest.raises(Unavailable, match="shutting down"):
        await store.read(newest_revision)
    again = await Store.open(store_url)
    assert again.revision == 50
    await again.close()


async def test_wait(store: Store) -> None:
    before = time.monotonic()
    assert await store.wait(0, 0.05) == 0
    assert time.monotonic() - before >= 0.05
    waiters = [asyncio.create_task(store.wait(0, 30.0)) for _ in range(5)]
    await asyncio.sleep(0)
    await store.apply([named("a")])
    assert await asyncio.gather(*waiters) == [1] * 5
    assert await store.wait(0, 30.0) == 1, "what is newer already is not waited for"


async def test_a_read_is_one_snapshot(store_url: str) -> None:
    """A write that is committed in the middle of a read is not seen by it."""
    store = await Store.open(store_url)
    entered, gate = asyncio.Event(), threading.Event()
    loop, async_gate = asyncio.get_running_loop(), asyncio.Event()
    pause: Callable[[], object] = (lambda: gate.wait(30)) if store_url.startswith("sqlite") else (lambda: await_only(async_gate.wait()))

    def look(connection: Connection) -> tuple[int, int, int]:
        first = newest_revision(connection)
        loop.call_soon_threadsafe(entered.set)
        pause()
        return first, newest_revision(connection), len(list_projects(connection, EVERYTHING).items)

    reading = asyncio.create_task(store.read(look))
    await entered.wait()
    assert await store.apply([named("a")]) == 1
    gate.set()
    async_gate.set()
    assert await reading == (0, 0, 0)
    assert await store.read(newest_revision) == 1
    await store.close()


async def test_a_full_disk_refuses_writes_and_is_got_over(new_url: Callable[[str], str]) -> None:
    store = await Store.open(new_url("sqlite"))

    def limit(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    def unlimit(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count = 4294967294"))

    await store.apply([], [limit])
    got = await asyncio.gather(*(store.apply([named(f"{number}-" + "x" * 10_000)]) for number in range(5)), return_exceptions=True)
    assert {one.code for one in got if isinstance(one, Unavailable)} == {"store_disk_full"}
    assert len({id(one) for one in got}) == 5, "each caller gets an exception of its own"
    await store.apply([], [unlimit])
    assert await names(store) == set()
    assert await store.apply([named("a")]) == 1
    await store.close()


async def test_a_store_that_cannot_be_opened(tmp_path: object, postgres: object) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/folder/x.db", "postgresql+asyncpg://houyi@/x?host=/nonexistent", postgres.url("nosuchdatabase")):  # type: ignore[attr-defined]
        with pytest.raises(Unavailable) as caught:
            await Store.open(url)
        assert caught.value.code == "store_unreachable"


async def test_the_embedded_store_is_for_its_owner_only(tmp_path: object) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/new.db")
    await store.apply([named("a")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}  # type: ignore[attr-defined]
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
    await store.close()


async def test_a_store_can_be_closed_at_any_moment(store_url: str) -> None:
    """Its listener is then connecting, reading or waiting."""
    for moment in range(12):
        store = await Store.open(store_url)
        writing = asyncio.create_task(store.apply([touch("vm", "v", None)]))
        await asyncio.sleep(moment * 0.002)
        async with asyncio.timeout(20):
            await store.close()
            assert await writing == moment + 1


async def test_what_makes_the_embedded_store_durable(new_url: Callable[[str], str]) -> None:
    """A power cut cannot be tried here; that every commit is flushed (2: FULL) and that references are checked can be seen."""
    store = await Store.open(new_url("sqlite"))
    seen: list[dict[str, object]] = []

    def look(connection: Connection) -> None:
        seen.append({name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "synchronous", "foreign_keys")})

    await store.apply([], [look])
    await store.read(look)
    assert seen == [{"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}] * 2
    await store.close()
