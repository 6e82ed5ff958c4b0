"""The feed: gapless, in pages that never split a revision, scoped, and honest about what it has forgotten."""

import pytest
from sqlalchemy import func, select

from houyi.model.errors import Stale
from houyi.store import tables
from houyi.store.changes import Change, changes_since, forget_changes, forget_history
from houyi.store.mutation import Mutation, Op, touch
from houyi.store.rows.idempotency import remember
from houyi.store.rows.project import delete_project, insert_project
from houyi.store.store import Store
from made import MINE, OTHER, a_project


def told(kind: str, object_id: str, project_id: str | None = None) -> Mutation:
    return touch(kind, object_id, project_id)


async def since(store: Store, revision: int, *kinds: str, project_id: str | None = None, limit: int = 1000) -> list[Change]:
    return await store.read(lambda c: changes_since(c, revision, kinds or ("vm",), project_id, limit))


async def test_what_is_told(store: Store) -> None:
    await store.apply([insert_project(a_project())])
    await store.apply([delete_project(MINE)])
    assert await since(store, 0, "project") == [Change(1, "project", MINE, MINE, Op.PUT), Change(2, "project", MINE, MINE, Op.DELETE)]
    assert [change.revision for change in await since(store, 1, "project")] == [2]
    assert await since(store, 0, "vm") == []


async def test_a_project_hears_of_its_own_and_of_shared_things(store: Store) -> None:
    await store.apply([told("vm", "a", MINE), told("vm", "b", OTHER), told("vm", "c", None)])
    assert {change.id for change in await since(store, 0, project_id=MINE)} == {"a", "c"}
    assert {change.id for change in await since(store, 0)} == {"a", "b", "c"}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
async def test_pages_lead_through_everything_once(store: Store, limit: int) -> None:
    for size in (1, 3, 2, 1, 4):
        await store.apply([told("vm", f"v{number}") for number in range(size)])
    seen: list[tuple[int, str]] = []
    last = 0
    while page := await since(store, last, limit=limit):
        seen += [(change.revision, change.id) for change in page]
        last = page[-1].revision
    assert seen == [(revision, f"v{number}") for revision, size in enumerate((1, 3, 2, 1, 4), start=1) for number in range(size)]


async def test_forgetting_makes_old_watchers_list_again(store: Store) -> None:
    for number in range(10):
        await store.apply([told("vm", f"v{number}")])
    await store.apply([forget_changes(4)])
    assert [change.revision for change in await since(store, 6)] == [7, 8, 9, 10]
    assert [change.revision for change in await since(store, 9)] == [10]
    with pytest.raises(Stale) as caught:
        await since(store, 5)
    assert caught.value.code == "watch_too_old"
    assert store.revision == 10, "forgetting is no change"
    await store.apply([forget_changes(100)])
    assert len(await since(store, 6)) == 4, "the floor never sinks, and nothing more is forgotten"
    with pytest.raises(Stale):
        await since(store, 5)
    await store.apply([told("vm", "next")])
    assert [change.revision for change in await since(store, 10)] == [11]


async def test_history_is_forgotten_by_age(store: Store) -> None:
    await store.apply([remember("s", "old", "d", lambda _revision: (200, ""), 10.0), remember("s", "new", "d", lambda _revision: (200, ""), 20.0)])
    await store.apply([forget_history(15.0, 15.0)])
    keys = await store.read(lambda c: c.execute(select(tables.idempotency.c.key)).scalars().all())
    assert list(keys) == ["new"]
    assert await store.read(lambda c: c.execute(select(func.count()).select_from(tables.event)).scalar_one()) == 0
