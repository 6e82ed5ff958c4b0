"""Reads of projects."""

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId
from houyi.model.names import is_id
from houyi.model.project import Project
from houyi.store import tables
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _project(row: Row[tuple[object, ...]]) -> Project:
    return Project(id=ProjectId(row.id), name=row.name, created_at=row.created_at, revision=row.revision)


def get_project(connection: Connection, reference: str) -> Project:
    """:raise NotFound: `project_not_found`."""
    table = tables.project
    row = connection.execute(select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)).first()
    if row is None:
        raise NotFound("project_not_found", f"there is no project {reference!r}")
    return _project(row)


def list_projects(connection: Connection, ask: Ask) -> Page[Project]:
    rows = connection.execute(paged(select(tables.project), tables.project, ask))
    return cut([(row.created_at, row.id, _project(row)) for row in rows], newest_revision(connection), ask)
