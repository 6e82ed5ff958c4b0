"""Hypothesis drives a store, with several writes at once, watchers and forgetting, against a dictionary that says what should be."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, delete, insert, select, update

from houyi.model.errors import Conflict, Stale
from houyi.store import tables
from houyi.store.changes import changes_since, forget_changes
from houyi.store.mutation import Mutation, Op
from houyi.store.store import Store, newest_revision

KEYS = st.sampled_from("abcd")
RULES = settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))


def add(key: str, amount: int) -> Mutation:
    """Read, then write: loses updates if anything can come between."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.lease
        now = connection.execute(select(table.c.expires_at).where(table.c.name == key)).scalar_one_or_none()
        if now is None:
            connection.execute(insert(table).values(name=key, holder=str(revision), expires_at=amount))
        else:
            connection.execute(update(table).where(table.c.name == key).values(holder=str(revision), expires_at=now + amount))

    return Mutation("lease", key, None, write)


def remove(key: str) -> Mutation:
    def write(connection: Connection, _revision: int) -> None:
        connection.execute(delete(tables.lease).where(tables.lease.c.name == key))

    return Mutation("lease", key, None, write, Op.DELETE)


def refuse(_connection: Connection) -> None:
    raise Conflict("no", "no")


class StoreMachine(RuleBasedStateMachine):
    """One event loop for the machine's life; `new_url` is set by the test."""

    new_url: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = type(self).new_url()
        self.store: Store = self.run(Store.open(self.url))
        self.values: dict[str, int] = {}
        self.revision = 0
        self.floor = 0
        self.copy: dict[str, int] = {}
        """What a watcher knows, from the feed alone."""
        self.watched = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    @rule(batch=st.lists(st.tuples(KEYS, st.integers(1, 9), st.sampled_from(["keep", "keep", "keep", "refuse", "cancel"])), min_size=1, max_size=8))
    def add_at_once(self, batch: list[tuple[str, int, str]]) -> None:
        async def go() -> list[Any]:
            tasks = [asyncio.create_task(self.store.apply([add(key, amount)], [refuse] if fate == "refuse" else [])) for key, amount, fate in batch]
            await asyncio.sleep(0)
            for task, (_, _, fate) in zip(tasks, batch, strict=True):
                if fate == "cancel":
                    task.cancel()
            got = await asyncio.gather(*tasks, return_exceptions=True)
            await self.store.apply([])  # the cancelled ones are through as well
            return got

        got = self.run(go())
        expected = self.revision
        for (key, amount, fate), outcome in zip(batch, got, strict=True):
            if fate == "refuse":
                assert isinstance(outcome, Conflict)
                continue
            expected += 1
            assert isinstance(outcome, asyncio.CancelledError) if fate == "cancel" else outcome == expected
            self.values[key] = self.values.get(key, 0) + amount
        self.revision = expected

    @rule(keys=st.sets(KEYS, min_size=1))
    def remove_together(self, keys: set[str]) -> None:
        self.revision += 1
        assert self.run(self.store.apply([remove(key) for key in sorted(keys)])) == self.revision
        for key in keys:
            self.values.pop(key, None)

    @rule(keep=st.integers(1, 5))
    def forget(self, keep: int) -> None:
        self.run(self.store.apply([forget_changes(keep)]))
        self.floor = max(self.floor, self.revision - keep)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(Store.open(self.url))
        assert self.store.revision == self.revision

    @precondition(lambda self: self.watched < self.revision)
    @rule(limit=st.integers(1, 5))
    def watch(self, limit: int) -> None:
        """Catch up by pages; from a list when too old."""

        async def page() -> None:
            try:
                changes = await self.store.read(lambda c: changes_since(c, self.watched, ("lease",), None, limit))
            except Stale:
                assert self.watched < self.floor
                self.watched, self.copy = await self.store.read(listing)
                return
            assert self.watched >= self.floor
            assert changes, "there is something new"
            assert changes[0].revision == self.watched + 1, "no gap"
            now = (await self.store.read(listing))[1]
            for change in changes:
                if change.op is Op.DELETE or change.id not in now:
                    self.copy.pop(change.id, None)
                else:
                    self.copy[change.id] = now[change.id]
            self.watched = changes[-1].revision

        while self.watched < self.revision:
            self.run(page())
        assert self.copy == self.values

    @invariant()
    def the_store_holds_what_was_written(self) -> None:
        assert self.run(self.store.read(listing)) == (self.revision, self.values)


def listing(connection: Connection) -> tuple[int, dict[str, int]]:
    rows = connection.execute(select(tables.lease.c.name, tables.lease.c.expires_at))
    return newest_revision(connection), {row.name: int(row.expires_at) for row in rows}


@pytest.fixture(params=["sqlite", "postgres"])
def machine(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> Iterator[type[StoreMachine]]:
    made = itertools.count()

    class Machine(StoreMachine):
        @staticmethod
        def new_url() -> str:
            next(made)
            return new_url(request.param)

    yield Machine
    assert next(made) > 0


def test_the_store_is_what_the_model_says(machine: type[StoreMachine]) -> None:
    run_state_machine_as_test(machine, settings=RULES)
