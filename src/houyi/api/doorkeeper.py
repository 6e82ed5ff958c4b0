"""Whose token a request carries. Verified tokens are remembered for a moment, and forgotten at once when one is revoked here.

Another server's revocation is seen after REMEMBERED_SECONDS at the latest.
"""

import hmac
import re
from dataclasses import dataclass

from houyi.base.ids import digest
from houyi.control.control import Control
from houyi.model.errors import Unauthenticated
from houyi.model.ids import TokenId
from houyi.model.project import Project
from houyi.model.token import Token
from houyi.store.views.project import get_project
from houyi.store.views.token import find_token

REMEMBERED_SECONDS = 1.0
"""Saves a read a request (a third of a short one's cost); also how long another server may go on with a token that was revoked here."""
REMEMBERED_MAX = 10_000
"""Bounds the memory; beyond it all are forgotten and read again."""

_TOKEN = re.compile(r"hy_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_([A-Za-z0-9_-]{16,128})")
_NOBODY = digest("")
"""Compared with when there is no such token, so that the answer takes as long."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified token and its project."""

    token: Token
    project: Project


class Doorkeeper:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: dict[TokenId, tuple[float, Identity]] = {}
        self._forgotten = 0

    async def who(self, authorization: str) -> Identity:
        """:raise Unauthenticated: `no_token`, `token_invalid` (malformed, unknown, wrong secret, revoked), `token_expired`."""
        scheme, _, text = authorization.partition(" ")
        if not text or scheme.lower() != "bearer":
            raise Unauthenticated("no_token", "send a token: 'Authorization: Bearer hy_...' (`houyi login` keeps it for you)")
        match = _TOKEN.fullmatch(text.strip())
        if match is None:
            raise _invalid()
        identity = await self._find(TokenId(match[1]))
        expected = identity.token.secret_sha256 if identity else _NOBODY
        if not hmac.compare_digest(digest(match[2]), expected) or identity is None:
            raise _invalid()
        if identity.token.expires_at and identity.token.expires_at <= self._control.clock.now():
            raise Unauthenticated("token_expired", "this token has expired: get a new one from an administrator")
        return identity

    async def asker(self, actor: str) -> Token:
        """Whose token it was that a request of `actor` showed. :raise Unauthenticated: `token_invalid`: it was revoked or has expired meanwhile."""
        found = await self._find(TokenId(actor.removeprefix("token:")))
        if found is None:
            raise _invalid()
        await self.check_still(found.token)
        return found.token

    async def check_still(self, token: Token) -> None:
        """For answers that take long. :raise Unauthenticated: `token_invalid`: it was revoked or has expired meanwhile."""
        known = await self._find(token.id)
        if known is None or (token.expires_at and token.expires_at <= self._control.clock.now()):
            raise _invalid()

    def forget(self) -> None:
        """After a revocation: every token is read again."""
        self._forgotten += 1
        self._known.clear()

    async def _find(self, token_id: TokenId) -> Identity | None:
        now = self._control.clock.monotonic()
        known = self._known.get(token_id)
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        forgotten = self._forgotten
        token = await self._control.store.read(lambda c: find_token(c, token_id))
        if token is None:
            return None
        project = await self._control.store.read(lambda c: get_project(c, token.project_id))
        identity = Identity(token, project)
        if forgotten == self._forgotten:  # else one was revoked while we read, perhaps this one
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[token_id] = (now, identity)
        return identity


def _invalid() -> Unauthenticated:
    return Unauthenticated("token_invalid", "this token is unknown or was revoked: log in again with `houyi login`")
