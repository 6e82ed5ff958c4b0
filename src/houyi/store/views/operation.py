"""Reads of operations."""

from dataclasses import replace

from sqlalchemy import Connection, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId
from houyi.model.operation import Operation
from houyi.model.vm import Vm
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.journal import open_operations
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged
from houyi.store.views.vm import vms_by_id


def get_operation(connection: Connection, operation_id: str, project_id: ProjectId | None) -> Operation:
    """:raise NotFound: `operation_not_found`."""
    table = tables.operation
    query = select(table.c.doc, table.c.revision).where(table.c.id == operation_id)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("operation_not_found", f"there is no operation {operation_id!r}")
    return replace(load(row.doc, Operation), revision=row.revision)


def list_operations(
    connection: Connection, project_id: ProjectId | None, ask: Ask, *, target_id: str | None = None, open_only: bool = False
) -> Page[Operation]:
    table = tables.operation
    query = select(table)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    if target_id is not None:
        query = query.where(table.c.target_id == target_id)
    if open_only:
        query = query.where(~table.c.ended)
    rows = connection.execute(paged(query, table, ask))
    found = [(row.created_at, row.id, replace(load(row.doc, Operation), revision=row.revision)) for row in rows]
    return cut(found, newest_revision(connection), ask)


def open_with_vms(connection: Connection) -> tuple[list[Operation], dict[str, Vm]]:
    """Operations on VMs that have not ended, oldest first, and those VMs that are still there, by id; one consistent read."""
    operations = list(open_operations(connection, "vm"))
    return operations, vms_by_id(connection, {operation.target_id for operation in operations})
