"""What may be asked of the store: mutations that change one object each, and preconditions that may refuse all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlalchemy import Connection

from houyi.model.errors import Stale


class Op(StrEnum):
    PUT = "put"
    DELETE = "delete"


Precondition = Callable[[Connection], None]
"""Raises a HouyiError to refuse; it sees everything that was written before it, and nothing else can write meanwhile."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one object. `write(connection, revision)` may raise a HouyiError: then nothing of its `apply` is kept."""

    kind: str
    id: str
    project_id: str | None
    write: Callable[[Connection, int], None]
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
    return Mutation(kind, object_id, project_id, lambda _connection, _revision: None)
