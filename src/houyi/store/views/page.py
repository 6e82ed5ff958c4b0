"""Lists in pages: stable under concurrent writes, since the order is the row's age."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, Table, tuple_

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """`after`: (created_at, id) of the last row of the page before; None: from the start."""

    limit: int = 100
    after: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    revision: int
    """The store's revision of this snapshot: watch from here."""
    next: tuple[float, str] | None
    """Where the next page starts; None: this was the last."""
    marks: tuple[tuple[float, str], ...] = ()
    """Of each item, where a page after it starts."""


EVERYTHING = Ask(limit=1_000_000)


def paged(query: Select[Any], table: Table, ask: Ask) -> Select[Any]:
    """Order by age, start after the page before, and read one row more than asked, which tells whether there is a next page."""
    if ask.after is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) > ask.after)
    return query.order_by(table.c.created_at, table.c.id).limit(ask.limit + 1)


def cut(rows: list[tuple[float, str, T]], revision: int, ask: Ask) -> Page[T]:
    """Make a Page of (created_at, id, item) rows that `paged` found."""
    more = len(rows) > ask.limit
    kept = rows[: ask.limit]
    marks = tuple((row[0], row[1]) for row in kept)
    return Page(tuple(row[2] for row in kept), revision, marks[-1] if more and marks else None, marks)
