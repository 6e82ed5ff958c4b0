"""The journal of operations: what takes time, and how far it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from houyi.model.errors import Conflict, NotFound
from houyi.model.operation import ENDED, NEXT, Operation
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Act, Look, Mutation, Row, Rows


def insert_operation(operation: Operation) -> Mutation:
    values = {"project_id": operation.project_id, "target_kind": operation.target_kind, "target_id": operation.target_id, "created_at": operation.created_at}
    row = Row(Act.INSERT, tables.operation, (operation.id,), lambda revision: {**values, **_moved(operation, revision)})
    return Mutation("operation", operation.id, operation.project_id, Rows([row]))


def move_operation(operation: Operation) -> Mutation:
    """Put it into its new state. :raise Conflict: `operation_ended`: it had ended already. :raise NotFound: `operation_not_found`."""

    def check(row: Mapping[str, Any] | None) -> None:
        if row is None:
            raise NotFound("operation_not_found", f"there is no operation {operation.id}")
        before = load(row["doc"], Operation).state
        if before in ENDED or (operation.state != before and operation.state not in NEXT[before]):
            raise Conflict("operation_ended", f"operation {operation.id} is {before.value} already")

    key = (operation.id,)
    row = Row(Act.UPDATE, tables.operation, key, lambda revision: _moved(operation, revision))
    return Mutation("operation", operation.id, operation.project_id, Rows([row], [Look(tables.operation, key, ("doc",), check)]))


def _moved(operation: Operation, revision: int) -> dict[str, Any]:
    return {"ended": operation.state in ENDED, "doc": dump(operation), "revision": revision}


def open_operations(connection: Connection, target_kind: str | None = None, target_id: str | None = None) -> Sequence[Operation]:
    """Those that have not ended, oldest first."""
    table = tables.operation
    query = select(table.c.doc, table.c.revision).where(~table.c.ended).order_by(table.c.created_at, table.c.id)
    if target_kind is not None:
        query = query.where(table.c.target_kind == target_kind)
    if target_id is not None:
        query = query.where(table.c.target_id == target_id)
    return [replace(load(row.doc, Operation), revision=row.revision) for row in connection.execute(query)]
