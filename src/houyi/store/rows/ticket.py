"""Mutations of tickets. Nobody watches them."""

from sqlalchemy import Connection, delete, func, insert, select, update

from houyi.model.errors import Conflict, Unauthenticated, Unavailable
from houyi.store import tables
from houyi.store.mutation import Mutation
from houyi.store.views.ticket import Ticket


def insert_ticket(ticket: Ticket, now: float, most: int) -> Mutation:
    """Those that have expired go with it, so the table is no larger than what is alive.

    :raise Unavailable: `too_many_tickets`: `most` are alive. :raise Conflict: `idempotency_in_use`: the same request was first.
    """

    def write(connection: Connection, _revision: int) -> None:
        table = tables.ticket
        connection.execute(delete(table).where(table.c.expires_at <= now))
        if connection.execute(select(func.count()).select_from(table)).scalar_one() >= most:
            raise Unavailable("too_many_tickets", "too many tickets wait to be used: try again in a moment")
        if ticket.key is not None and connection.execute(select(table.c.key).where(table.c.actor == ticket.actor, table.c.key == ticket.key)).first():
            raise Conflict("idempotency_in_use", "another request with this Idempotency-Key was first: repeat the request to get its answer")
        connection.execute(
            insert(table).values(
                text_sha256=ticket.text_sha256,
                nonce=ticket.nonce,
                vm_id=ticket.vm_id,
                kind=ticket.kind,
                actor=ticket.actor,
                key=ticket.key,
                request_sha256=ticket.request_sha256,
                used=False,
                expires_at=ticket.expires_at,
            )
        )

    return Mutation("ticket", ticket.text_sha256, None, write, quiet=True)


def use_ticket(text_sha256: str) -> Mutation:
    """:raise Unauthenticated: `ticket_invalid`: it is unknown, or somebody was faster."""

    def write(connection: Connection, _revision: int) -> None:
        table = tables.ticket
        if connection.execute(update(table).where(table.c.text_sha256 == text_sha256, ~table.c.used).values(used=True)).rowcount == 0:
            raise Unauthenticated("ticket_invalid", "this ticket is unknown, used up or expired: ask for another")

    return Mutation("ticket", text_sha256, None, write, quiet=True)
