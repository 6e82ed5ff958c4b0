"""A batch has the same outcomes, rows and changes as its applies one after another, however they get in each other's way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, select, update

from houyi.model.errors import HouyiError, Stale
from houyi.store import tables
from houyi.store.batch import Upset, Waiting, commit
from houyi.store.mutation import Act, Look, Mutation, Op, Precondition, Row, Rows
from houyi.store.store import Store

IDS = ("a", "b", "c", "d")
NAMES = ("x", "y", "z", "bad\udc00")
"""Names are unique; the last cannot be stored."""


@dataclass(frozen=True)
class Step:
    """One mutation of a project, or a precondition on one."""

    verb: str
    id: str
    name: str

    def mutation(self) -> Mutation:
        return Mutation("project", self.id, None, self._write(), Op.DELETE if self.verb == "delete" else Op.PUT, quiet=self.verb == "quiet")

    def _write(self) -> Any:
        def values(revision: int) -> dict[str, Any]:
            return {"name": self.name, "revision": revision} if self.verb == "update" else {"name": self.name, "created_at": 1.0, "revision": revision}

        def rename(connection: Connection, revision: int) -> None:
            connection.execute(update(tables.project).where(tables.project.c.id == self.id).values(name=self.name, revision=revision))
            if connection.execute(select(tables.project.c.id).where(tables.project.c.id == self.id)).first() is None:
                raise Stale("gone", "there is none")

        def remove(connection: Connection, _revision: int) -> None:
            connection.execute(delete(tables.project).where(tables.project.c.id == self.id))

        def taken(row: Any) -> None:
            if row is None:
                raise Stale("gone", "there is none")

        key = (self.id,)
        if self.verb in ("insert", "update", "put"):
            return Rows([Row(Act(self.verb), tables.project, key, values)])
        if self.verb == "look":
            return Rows([Row(Act.UPDATE, tables.project, key, lambda revision: {"revision": revision})], [Look(tables.project, key, ("name",), taken)])
        if self.verb == "quiet":
            return Rows([Row(Act.PUT, tables.lease, key, lambda revision: {"holder": str(revision), "expires_at": 1.0})])
        return rename if self.verb == "rename" else remove

    def precondition(self) -> Precondition:
        def check(row: Any) -> None:
            if row is None or row["name"] != self.name:
                raise Stale("other", f"{row and row['name']}")

        if self.verb in ("insert", "delete"):
            return Look(tables.project, (self.id,), ("name", "revision"), check)
        return lambda c: check(c.execute(select(tables.project).where(tables.project.c.id == self.id)).mappings().first())


steps = st.builds(Step, st.sampled_from(("insert", "update", "put", "look", "quiet", "rename", "delete")), st.sampled_from(IDS), st.sampled_from(NAMES))
preconditions = st.builds(Step, st.sampled_from(("insert", "rename")), st.sampled_from(IDS), st.sampled_from(NAMES[:3]))
applies = st.tuples(st.lists(steps, min_size=1, max_size=3), st.lists(preconditions, max_size=1))


async def result(store: Store, asked: Sequence[Sequence[tuple[list[Step], list[Step]]]]) -> tuple[Any, ...]:
    """Outcomes, rows and changes of these batches on an empty store, in which nothing is kept."""
    loop = asyncio.get_running_loop()
    outcomes: list[Any] = []

    def work(connection: Connection) -> tuple[Any, ...]:
        for batch in asked:
            waiting = [Waiting([one.mutation() for one in all_], [one.precondition() for one in needed], loop.create_future()) for all_, needed in batch]
            try:
                with connection.begin_nested():
                    found = commit(connection, waiting)
            except Upset:
                found = commit(connection, waiting, careful=True)
            outcomes.extend(one.code if isinstance(one, HouyiError) else one for one in found)
        rows = [tuple(row) for table in (tables.project, tables.lease, tables.change) for row in connection.execute(select(table).order_by(*table.primary_key))]
        raise _Enough((outcomes, rows))

    try:
        await store._database.write(work)
    except _Enough as enough:
        return enough.found
    raise AssertionError("unreachable")


class _Enough(Exception):
    def __init__(self, found: tuple[Any, ...]) -> None:
        self.found = found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(applies, min_size=2, max_size=12))
async def test_together_as_one_by_one(store: Store, asked: list[tuple[list[Step], list[Step]]]) -> None:
    assert await result(store, [asked]) == await result(store, [[one] for one in asked])


@pytest.mark.parametrize("bad", [0, 7, 49])
async def test_one_that_fails_does_not_cost_the_others_their_batch(store: Store, bad: int) -> None:
    """It is found by halves, and alone refused."""
    asked = [([Step("insert", f"id-{n:02d}", "taken" if n in (bad, 50) else f"n-{n}")], []) for n in range(50)]
    first = await store.apply([Step("insert", "first", "taken").mutation()])
    got = await asyncio.gather(*(store.apply([step.mutation() for step in all_]) for all_, _ in asked), return_exceptions=True)
    assert [getattr(one, "code", None) for one in got] == ["name_taken" if n == bad else None for n in range(50)]
    assert [one for one in got if isinstance(one, int)] == list(range(first + 1, first + 50))
    assert store.figures.batches <= 4
