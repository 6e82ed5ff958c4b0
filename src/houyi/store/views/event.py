"""Reads of events."""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, select

from houyi.model.errors import NotFound
from houyi.model.event import Event
from houyi.model.ids import ProjectId
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def get_event(connection: Connection, event_id: str, project_id: ProjectId | None) -> Event:
    """:raise NotFound: `event_not_found`."""
    table = tables.event
    query = select(table.c.doc, table.c.revision).where(table.c.id == event_id)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("event_not_found", f"there is no event {event_id!r}")
    return replace(load(row.doc, Event), revision=row.revision)


def list_events(connection: Connection, project_id: ProjectId | None, ask: Ask, *, target_id: str | None = None, kind: str | None = None) -> Page[Event]:
    """Oldest first."""
    table = tables.event
    query = select(table)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    if target_id is not None:
        query = query.where(table.c.target_id == target_id)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    rows = connection.execute(paged(query, table, ask))
    found = [(row.created_at, row.id, replace(load(row.doc, Event), revision=row.revision)) for row in rows]
    return cut(found, newest_revision(connection), ask)


def events_since(connection: Connection, kind: str, since: float) -> list[Event]:
    """Of that kind, oldest first. :param since: Unix seconds."""
    table = tables.event
    query = select(table.c.doc, table.c.revision).where(table.c.kind == kind, table.c.created_at >= since).order_by(table.c.created_at, table.c.id)
    return [replace(load(row.doc, Event), revision=row.revision) for row in connection.execute(query)]


def events_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Event]:
    """Those of them that exist."""
    table = tables.event
    rows = connection.execute(select(table.c.id, table.c.doc, table.c.revision).where(table.c.id.in_(list(ids))))
    return {row.id: replace(load(row.doc, Event), revision=row.revision) for row in rows}
