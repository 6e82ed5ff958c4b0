"""Tickets open one websocket, once, soon: for browsers, which cannot send an Authorization header with one. Kept in this process only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from houyi.base.clock import Clock
from houyi.base.ids import Ids, digest
from houyi.model.errors import Conflict, Unauthenticated, Unavailable
from houyi.model.ids import VmId

Kind = Literal["console", "vnc"]

LIFETIME_SECONDS = 30.0
TICKETS_MAX = 10_000
"""Of all callers at once; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Ticket:
    vm_id: VmId
    kind: Kind
    actor: str
    expires_at: float


class Tickets:
    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._tickets: dict[str, Ticket] = {}
        self._given: dict[tuple[str, str], tuple[str, str, Ticket]] = {}

    def give(self, vm_id: VmId, kind: Kind, actor: str, key: str | None, request_sha256: str) -> tuple[str, Ticket]:
        """A new ticket's text, or that of the same request with this Idempotency-Key.

        :raise Conflict: `idempotency_mismatch`. :raise Unavailable: `too_many_tickets`.
        """
        self._sweep()
        if key is not None and (actor, key) in self._given:
            sha256, text, ticket = self._given[actor, key]
            if sha256 != request_sha256:
                raise Conflict("idempotency_mismatch", "this Idempotency-Key was used for another request: use a new one")
            return text, ticket
        if len(self._tickets) >= TICKETS_MAX:
            raise Unavailable("too_many_tickets", "too many tickets wait to be used: try again in a moment")
        text, ticket = self._ids.secret(), Ticket(vm_id, kind, actor, self._clock.now() + LIFETIME_SECONDS)
        self._tickets[digest(text)] = ticket
        if key is not None:
            self._given[actor, key] = (request_sha256, text, ticket)
        return text, ticket

    def take(self, text: str, fits: Callable[[Ticket], bool]) -> Ticket:
        """Use a ticket up. :raise Unauthenticated: `ticket_invalid`: unknown, used, expired, or for something else."""
        ticket = self._tickets.pop(digest(text), None)
        if ticket is None or ticket.expires_at <= self._clock.now() or not fits(ticket):
            raise Unauthenticated("ticket_invalid", "this ticket is unknown, used up or expired: ask for another")
        return ticket

    def _sweep(self) -> None:
        now = self._clock.now()
        self._tickets = {text: ticket for text, ticket in self._tickets.items() if ticket.expires_at > now}
        self._given = {who: given for who, given in self._given.items() if given[2].expires_at > now}
