"""What may be asked of the store: mutations that change one object each, and preconditions that may refuse all of them.

Most say their rows by primary key (Look, Row): the writer folds those of a whole batch into a few statements (batch.py).
What must search or compute in the database is a function over its connection instead, and takes its turn alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Connection, Table

from houyi.model.errors import Stale


class Op(StrEnum):
    PUT = "put"
    DELETE = "delete"


class Act(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    PUT = "put"
    """Insert it, or update the one that is there."""


Key = tuple[Any, ...]
"""Of a row: the values of its table's primary key, in the table's order."""


@dataclass(frozen=True, slots=True)
class Look:
    """A precondition on one row: `check` gets the columns named (None: there is no such row), and raises a HouyiError to refuse."""

    table: Table
    key: Key
    columns: tuple[str, ...]
    check: Callable[[Mapping[str, Any] | None], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be written; `values` makes all but its key from the revision that the apply gets."""

    act: Act
    table: Table
    key: Key
    values: Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a mutation looks at before it writes anything, and what it writes."""

    rows: Sequence[Row]
    looks: Sequence[Look] = ()


Precondition = Look | Callable[[Connection], None]
"""Raises a HouyiError to refuse; it sees everything that was written before it, and nothing else can write meanwhile."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one object. `write`, if a function over (connection, revision), may raise a HouyiError: then nothing of its `apply` is kept."""

    kind: str
    id: str
    project_id: str | None
    write: Rows | Callable[[Connection, int], None]
    op: Op = Op.PUT
    quiet: bool = False
    """True: watchers are not told (leases, idempotency records)."""


class Versioned(Protocol):
    """What a view shows, with the revision of its last change."""

    @property
    def revision(self) -> int: ...


def expect(look: Callable[[Connection], Versioned], revision: int) -> Precondition:
    """What `look` shows is still at `revision`. :raise Stale: `revision_mismatch`. :raise HouyiError: what `look` raises (it is gone)."""

    def check(connection: Connection) -> None:
        found = look(connection).revision
        if found != revision:
            raise Stale("revision_mismatch", "it was changed meanwhile: read it again and repeat the request", revision=found)

    return check


def touch(kind: str, object_id: str, project_id: str | None) -> Mutation:
    """Tell watchers to look again: what is shown of an object has changed, though no row of it has."""
    return Mutation(kind, object_id, project_id, Rows(()))
