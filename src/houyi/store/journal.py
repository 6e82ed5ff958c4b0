"""The journal of operations: what takes time, and how far it has come."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from houyi.model.errors import Conflict, NotFound
from houyi.model.operation import ENDED, NEXT, Operation
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Mutation


def insert_operation(operation: Operation) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.operation).values(
                id=operation.id,
                project_id=operation.project_id,
                target_kind=operation.target_kind,
                target_id=operation.target_id,
                ended=operation.state in ENDED,
                doc=dump(operation),
                created_at=operation.created_at,
                revision=revision,
            )
        )

    return Mutation("operation", operation.id, operation.project_id, write)


def move_operation(operation: Operation) -> Mutation:
    """Put it into its new state. :raise Conflict: `operation_ended`: it had ended already. :raise NotFound: `operation_not_found`."""

    def write(connection: Connection, revision: int) -> None:
        doc = connection.execute(select(tables.operation.c.doc).where(tables.operation.c.id == operation.id)).scalar_one_or_none()
        if doc is None:
            raise NotFound("operation_not_found", f"there is no operation {operation.id}")
        before = load(doc, Operation).state
        if before in ENDED or (operation.state != before and operation.state not in NEXT[before]):
            raise Conflict("operation_ended", f"operation {operation.id} is {before.value} already")
        values = {"ended": operation.state in ENDED, "doc": dump(operation), "revision": revision}
        connection.execute(update(tables.operation).where(tables.operation.c.id == operation.id).values(**values))

    return Mutation("operation", operation.id, operation.project_id, write)


def open_operations(connection: Connection, target_kind: str | None = None, target_id: str | None = None) -> Sequence[Operation]:
    """Those that have not ended, oldest first."""
    table = tables.operation
    query = select(table.c.doc, table.c.revision).where(~table.c.ended).order_by(table.c.created_at, table.c.id)
    if target_kind is not None:
        query = query.where(table.c.target_kind == target_kind)
    if target_id is not None:
        query = query.where(table.c.target_id == target_id)
    return [replace(load(row.doc, Operation), revision=row.revision) for row in connection.execute(query)]
