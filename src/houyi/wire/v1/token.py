"""Users' tokens as JSON."""

from collections.abc import Mapping

from pydantic import Field

from houyi.model.token import Role
from houyi.model.token import Token as ModelToken
from houyi.wire.v1.shape import Asked, Id, Number, Page, Revision, Shown, Text, Time, rfc3339, rfc3339_or_none


class TokenCreate(Asked):
    name: Text = Field(description="RFC 1123 label, unique in the project.")
    role: Role = Role.MEMBER
    project: Text = Field("", description="Name or id of the project; empty: the caller's (another one: administrators only).")
    lifetime_seconds: Number = Field(0.0, description="0: it never expires.")


class Token(Shown):
    id: Id
    name: str
    project_id: Id
    project_name: str
    role: Role
    created_at: Time
    expires_at: Time | None
    revision: Revision


class TokenCreated(Token):
    """The answer to a creation; the only time that the token itself is shown."""

    token: str = Field(description="'hy_...', for `Authorization: Bearer`; empty in an answer that an Idempotency-Key repeats, since it is not kept.")


class TokenPage(Page[Token]):
    """A page of tokens."""


def show_token(token: ModelToken, names: Mapping[str, str]) -> Token:
    """:param names: id to name of its project."""
    return Token(
        id=token.id,
        name=token.name,
        project_id=token.project_id,
        project_name=names.get(token.project_id, ""),
        role=token.role,
        created_at=rfc3339(token.created_at),
        expires_at=rfc3339_or_none(token.expires_at),
        revision=token.revision,
    )
