"""Reads of nouns that are one row of one table each, by name or id, within a project or everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Row, Table, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId
from houyi.model.names import is_id
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plain(Generic[T]):
    """Of a table with the columns id, name, created_at, and project_id if its nouns belong to projects."""

    table: Table
    made_of: Callable[[Row[Any]], T]
    missing: Callable[[str], NotFound]
    """The refusal, from the reference that nothing was found by."""

    def get(self, connection: Connection, reference: str, project_id: ProjectId | None = None) -> T:
        """The oldest of that name, or the one of that id; of one project unless None. :raise NotFound: as `missing` says."""
        table = self.table
        query = select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)
        if project_id is not None:
            query = query.where(table.c.project_id == project_id)
        row = connection.execute(query.order_by(table.c.created_at)).first()
        if row is None:
            raise self.missing(reference)
        return self.made_of(row)

    def list(self, connection: Connection, ask: Ask, project_id: ProjectId | None = None) -> Page[T]:
        query = select(self.table)
        if project_id is not None:
            query = query.where(self.table.c.project_id == project_id)
        rows = connection.execute(paged(query, self.table, ask))
        return cut([(row.created_at, row.id, self.made_of(row)) for row in rows], newest_revision(connection), ask)
