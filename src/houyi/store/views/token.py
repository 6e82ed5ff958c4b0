"""Reads of users' tokens."""

from typing import Any

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId, TokenId
from houyi.model.token import Role, Token
from houyi.store import tables
from houyi.store.views.page import Ask, Page
from houyi.store.views.plain import Plain


def _token(row: Row[Any]) -> Token:
    return Token(
        id=TokenId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        role=Role(row.role),
        secret_sha256=row.secret_sha256,
        expires_at=row.expires_at,
        created_at=row.created_at,
        revision=row.revision,
    )


_TOKENS = Plain(tables.token, _token, lambda reference: NotFound("token_not_found", f"there is no token {reference!r}"))


def find_token(connection: Connection, token_id: str) -> Token | None:
    """By id only: the door of authentication."""
    row = connection.execute(select(tables.token).where(tables.token.c.id == token_id)).first()
    return None if row is None else _token(row)


def get_token(connection: Connection, reference: str, project_id: ProjectId | None) -> Token:
    """:raise NotFound: `token_not_found`."""
    return _TOKENS.get(connection, reference, project_id)


def list_tokens(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[Token]:
    return _TOKENS.list(connection, ask, project_id)
