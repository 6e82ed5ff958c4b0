"""One batch: the applies that wait, written in one transaction as if one after another; what fails fails alone.

The hopeful way first, without savepoints: runs of applies that only say rows by key, and do not touch each other's, are looked at and
written in a few statements (fold.py); the others take their turns between the runs. Whatever goes wrong after something was written is
Upset: the transaction is rolled back, and the batch done again the careful way, in savepoints of halves until what fails is alone.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from houyi.store import fold, tables
from houyi.store.mutation import Look, Mutation, Precondition, Row, Rows
from houyi.store.trouble import TROUBLE, is_callers, refusal

CHANNEL = "houyi_revision"
"""Where servers on PostgreSQL tell each other of a commit: its newest revision."""

Outcome = int | Exception
"""The revision, or why it was refused."""


@dataclass(eq=False, slots=True)
class Waiting:
    """An apply, and who waits for its outcome."""

    mutations: Sequence[Mutation]
    preconditions: Sequence[Precondition]
    done: asyncio.Future[int]


class Upset(Exception):
    """Something of the batch has to be undone."""


def commit(connection: Connection, batch: Sequence[Waiting], *, careful: bool = False) -> list[Outcome]:
    """Write a batch within the transaction that is open; one outcome each.

    :raise Upset: the transaction must be rolled back, and the batch done carefully in another; never when `careful`.
    """
    counter = tables.counter
    # The lock on this row makes all writers of all servers take turns: revisions are in commit order.
    before = connection.execute(select(counter.c.value).where(counter.c.name == "revision").with_for_update()).scalar_one()
    writing = _Writing(connection, before)
    for run in _runs(batch):
        if careful:
            writing.carefully(run)
        else:
            writing.hopefully(run)
    if writing.changes:
        connection.execute(insert(tables.change), writing.changes)
        seen = update(counter).where(counter.c.name == "revision").values(value=writing.revision)
        if connection.dialect.name == "postgresql":
            connection.execute(seen.returning(func.pg_notify(CHANNEL, str(writing.revision))))
        else:
            connection.execute(seen)
    return writing.outcomes


@dataclass(frozen=True, slots=True)
class _Said:
    """An apply that only says rows by key, or one that must be alone (then without any)."""

    waiting: Waiting
    looks: Sequence[Look] = ()
    rows: Sequence[Row] = ()
    alone: bool = False


def _said(waiting: Waiting) -> _Said:
    looks: list[Look] = []
    rows: list[Row] = []
    for precondition in waiting.preconditions:
        if not isinstance(precondition, Look):
            return _Said(waiting, alone=True)
        looks.append(precondition)
    for mutation in waiting.mutations:
        if not isinstance(mutation.write, Rows):
            return _Said(waiting, alone=True)
        if rows and fold.looks_at(mutation.write.looks) & fold.writes_to(rows):
            return _Said(waiting, alone=True)
        looks += mutation.write.looks
        rows += mutation.write.rows
    return _Said(waiting, looks, rows, alone=len(fold.writes_to(rows)) < len(rows))


def _runs(batch: Sequence[Waiting]) -> Iterator[list[_Said]]:
    """In order; within a run nobody looks at or writes what another one before has written, so that all may look first and write then."""
    run: list[_Said] = []
    written: set[fold.Place] = set()
    for said in map(_said, batch):
        writes = fold.writes_to(said.rows)
        if run and (said.alone or run[-1].alone or written & (writes | fold.looks_at(said.looks))):
            yield run
            run, written = [], set()
        run.append(said)
        written |= writes
    yield run


class _Writing:
    """What has been written so far."""

    def __init__(self, connection: Connection, revision: int) -> None:
        self._connection = connection
        self.revision = revision
        self.changes: list[dict[str, Any]] = []
        self.outcomes: list[Outcome] = []

    def hopefully(self, run: Sequence[_Said]) -> None:
        """:raise Upset: a caller's fault was found only when something had been written, or the database has found it."""
        try:
            self._written(run)
        except Exception as error:
            if isinstance(error, TROUBLE) and not is_callers(error):
                raise
            raise Upset from error

    def carefully(self, run: Sequence[_Said]) -> None:
        """In a savepoint, of one half and then the other if something fails in it."""
        try:
            with self._connection.begin_nested():
                self._written(run)
        except Exception as error:
            if isinstance(error, TROUBLE) and not is_callers(error):
                raise
            if len(run) == 1:
                self.outcomes.append(_reason(error))
                return
        else:
            return
        middle = len(run) // 2
        self.carefully(run[:middle])
        self.carefully(run[middle:])

    def _written(self, run: Sequence[_Said]) -> None:
        if run[0].alone:
            self._alone(run[0].waiting)
        else:
            self._folded(run)

    def _folded(self, run: Sequence[_Said]) -> None:
        seen = fold.see(self._connection, (look for said in run for look in said.looks))
        revision, changes, outcomes, written = self.revision, list[dict[str, Any]](), list[Outcome](), list[fold.Written]()
        for said in run:
            try:
                for look in said.looks:
                    fold.check(look, seen)
                rows = [fold.Written(row, row.values(revision + 1)) for row in said.rows]
            except Exception as error:
                outcomes.append(_reason(error))
                continue
            written += rows
            told = _told(said.waiting, revision + 1)
            revision += bool(told)
            changes += told
            outcomes.append(revision)
        fold.write(self._connection, written)
        self.revision = revision
        self.changes += changes
        self.outcomes += outcomes

    def _alone(self, waiting: Waiting) -> None:
        """:raise Exception: what a mutation or the database raised; a precondition's refusal is its outcome, since nothing was written before."""
        try:
            for precondition in waiting.preconditions:
                if isinstance(precondition, Look):
                    fold.check_alone(self._connection, precondition)
                else:
                    precondition(self._connection)
        except TROUBLE:
            raise
        except Exception as error:
            self.outcomes.append(_reason(error))
            return
        revision = self.revision + 1
        for mutation in waiting.mutations:
            if isinstance(mutation.write, Rows):
                fold.write_alone(self._connection, mutation.write, revision)
            else:
                mutation.write(self._connection, revision)
        told = _told(waiting, revision)
        self.revision += bool(told)
        self.changes += told
        self.outcomes.append(self.revision)


def _told(waiting: Waiting, revision: int) -> list[dict[str, Any]]:
    """The lines of the change feed: each object once."""
    objects = {(m.kind, m.id): m for m in waiting.mutations if not m.quiet}
    return [{"revision": revision, "kind": m.kind, "id": m.id, "project_id": m.project_id, "op": m.op.value} for m in objects.values()]


def _reason(error: Exception) -> Exception:
    """What the caller is told."""
    if isinstance(error, TROUBLE):
        return refusal(error)
    # A future cannot carry a StopIteration, and nothing may stop the writer.
    return RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
