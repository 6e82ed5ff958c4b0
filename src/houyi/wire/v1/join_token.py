"""Join tokens as JSON."""

from pydantic import Field

from houyi.model.join_token import JoinToken as ModelJoinToken
from houyi.wire.v1.shape import Asked, Id, Number, Page, Revision, Shown, Time, rfc3339


class JoinTokenCreate(Asked):
    lifetime_seconds: Number = Field(3600.0, description="At most 30 days.")


class JoinToken(Shown):
    id: Id
    used_by: str = Field(description="Id of the host that used it; empty: nobody yet.")
    created_at: Time
    expires_at: Time
    revision: Revision


class JoinTokenCreated(JoinToken):
    """The answer to a creation; the only time that the token itself is shown."""

    token: str = Field(description="'hyj_...', for the joining agent; empty in an answer that an Idempotency-Key repeats, since it is not kept.")


class JoinTokenPage(Page[JoinToken]):
    """A page of join tokens."""


def show_join_token(token: ModelJoinToken) -> JoinToken:
    return JoinToken(id=token.id, used_by=token.used_by, created_at=rfc3339(token.created_at), expires_at=rfc3339(token.expires_at), revision=token.revision)
