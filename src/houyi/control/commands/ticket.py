"""Tickets open one websocket of a VM, once, soon: for browsers, which cannot send an Authorization header with one.

They are in the store, so that any server takes what another gave; there is only a digest there. A ticket's text is made of a stored nonce and of the
secret that its asker shows with each request: so a request that is repeated gets the same text, and nobody else can make it.
"""

import base64
import hashlib
import hmac
from typing import Literal

from houyi.base.ids import digest
from houyi.control.control import Context, Control
from houyi.model.errors import Conflict, Unauthenticated
from houyi.model.ids import VmId
from houyi.store.rows.ticket import insert_ticket, use_ticket
from houyi.store.views.ticket import Ticket, find_ticket, ticket_of_request

Kind = Literal["console", "vnc"]

LIFETIME_SECONDS = 30.0
TICKETS_MAX = 10_000
"""Alive at once, of all callers: bounds the table."""


async def new_ticket(control: Control, ctx: Context, vm_id: VmId, kind: Kind, secret: str, key: str | None, request_sha256: str) -> tuple[str, Ticket]:
    """A new ticket's text, or that of the same request with this Idempotency-Key.

    :param secret: the asker's, as shown with this request; it is not kept.
    :raise Conflict: `idempotency_mismatch`. :raise Unavailable: `too_many_tickets`.
    """
    now = control.clock.now()
    before = await _before(control, ctx, key, request_sha256, now)
    if before is None:
        nonce = control.ids.secret()
        ticket = Ticket(
            text_sha256=digest(_text(secret, nonce)),
            nonce=nonce,
            vm_id=vm_id,
            kind=kind,
            actor=ctx.actor,
            key=key,
            request_sha256=request_sha256,
            expires_at=now + LIFETIME_SECONDS,
        )
        try:
            await control.store.apply([insert_ticket(ticket, now, TICKETS_MAX)])
        except Conflict:
            before = await _before(control, ctx, key, request_sha256, now)  # the very same request was first
            if before is None:
                raise
        else:
            return _text(secret, nonce), ticket
    return _text(secret, before.nonce), before


async def take_ticket(control: Control, text: str, kind: Kind) -> Ticket:
    """Use a ticket up. :raise Unauthenticated: `ticket_invalid`: unknown, used, expired, or for something else."""
    sha256 = digest(text)
    await control.store.apply([use_ticket(sha256)])
    ticket = await control.store.read(lambda c: find_ticket(c, sha256))
    if ticket is None or ticket.expires_at <= control.clock.now() or ticket.kind != kind:
        raise Unauthenticated("ticket_invalid", "this ticket is unknown, used up or expired: ask for another")
    return ticket


async def _before(control: Control, ctx: Context, key: str | None, request_sha256: str, now: float) -> Ticket | None:
    if key is None:
        return None
    found = await control.store.read(lambda c: ticket_of_request(c, ctx.actor, key, now))
    if found is not None and found.request_sha256 != request_sha256:
        raise Conflict("idempotency_mismatch", "this Idempotency-Key was used for another request: use a new one")
    return found


def _text(secret: str, nonce: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), nonce.encode(), hashlib.sha256)).decode().rstrip("=")
