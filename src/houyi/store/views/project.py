"""Reads of projects."""

from typing import Any

from sqlalchemy import Connection, Row

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId
from houyi.model.project import Project
from houyi.store import tables
from houyi.store.views.page import Ask, Page
from houyi.store.views.plain import Plain


def _project(row: Row[Any]) -> Project:
    return Project(id=ProjectId(row.id), name=row.name, created_at=row.created_at, revision=row.revision)


_PROJECTS = Plain(tables.project, _project, lambda reference: NotFound("project_not_found", f"there is no project {reference!r}"))


def get_project(connection: Connection, reference: str) -> Project:
    """:raise NotFound: `project_not_found`."""
    return _PROJECTS.get(connection, reference)


def list_projects(connection: Connection, ask: Ask) -> Page[Project]:
    return _PROJECTS.list(connection, ask)
