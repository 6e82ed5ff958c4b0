"""Reads of tickets, which open one websocket each."""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from houyi.model.ids import VmId
from houyi.store import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a ticket is good for. Its text follows from the nonce and the asker's own secret, so that no reader of the store can use it."""

    text_sha256: str
    nonce: str
    vm_id: VmId
    kind: str
    actor: str
    key: str | None
    """The Idempotency-Key of the request, if any."""
    request_sha256: str
    used: bool = False
    expires_at: float


def _ticket(row: Row[tuple[object, ...]]) -> Ticket:
    return Ticket(
        text_sha256=row.text_sha256,
        nonce=row.nonce,
        vm_id=VmId(row.vm_id),
        kind=row.kind,
        actor=row.actor,
        key=row.key,
        request_sha256=row.request_sha256,
        used=row.used,
        expires_at=row.expires_at,
    )


def find_ticket(connection: Connection, text_sha256: str) -> Ticket | None:
    row = connection.execute(select(tables.ticket).where(tables.ticket.c.text_sha256 == text_sha256)).first()
    return None if row is None else _ticket(row)


def ticket_of_request(connection: Connection, actor: str, key: str, now: float) -> Ticket | None:
    """That of an earlier request with this Idempotency-Key, while it is alive."""
    table = tables.ticket
    row = connection.execute(select(table).where(table.c.actor == actor, table.c.key == key, table.c.expires_at > now)).first()
    return None if row is None else _ticket(row)
