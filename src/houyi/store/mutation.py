"""What may be asked of the store: mutations that change one object each, and preconditions that may refuse all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection


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
