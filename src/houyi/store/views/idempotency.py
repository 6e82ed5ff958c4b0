"""Reads of what was answered before."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from houyi.store import tables


@dataclass(frozen=True, slots=True)
class Answered:
    request_sha256: str
    status: int
    response: str


def find_answer(connection: Connection, scope: str, key: str) -> Answered | None:
    table = tables.idempotency
    row = connection.execute(select(table).where(table.c.scope == scope, table.c.key == key)).first()
    return None if row is None else Answered(row.request_sha256, row.status, row.response)
