"""Reads of join tokens."""

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import JoinTokenId
from houyi.model.join_token import JoinToken
from houyi.store import tables
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _join_token(row: Row[tuple[object, ...]]) -> JoinToken:
    return JoinToken(
        id=JoinTokenId(row.id),
        secret_sha256=row.secret_sha256,
        expires_at=row.expires_at,
        used_by=row.used_by,
        created_at=row.created_at,
        revision=row.revision,
    )


def get_join_token(connection: Connection, token_id: str) -> JoinToken:
    """:raise NotFound: `join_token_not_found`."""
    row = connection.execute(select(tables.join_token).where(tables.join_token.c.id == token_id)).first()
    if row is None:
        raise NotFound("join_token_not_found", f"there is no join token {token_id!r}")
    return _join_token(row)


def list_join_tokens(connection: Connection, ask: Ask) -> Page[JoinToken]:
    rows = connection.execute(paged(select(tables.join_token), tables.join_token, ask))
    return cut([(row.created_at, row.id, _join_token(row)) for row in rows], newest_revision(connection), ask)
