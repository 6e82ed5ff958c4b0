"""Reads of users' tokens."""

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId, TokenId
from houyi.model.names import is_id
from houyi.model.token import Role, Token
from houyi.store import tables
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _token(row: Row[tuple[object, ...]]) -> Token:
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


def find_token(connection: Connection, token_id: str) -> Token | None:
    """By id only: the door of authentication."""
    row = connection.execute(select(tables.token).where(tables.token.c.id == token_id)).first()
    return None if row is None else _token(row)


def get_token(connection: Connection, reference: str, project_id: ProjectId | None) -> Token:
    """:raise NotFound: `token_not_found`."""
    table = tables.token
    query = select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    row = connection.execute(query.order_by(table.c.created_at)).first()
    if row is None:
        raise NotFound("token_not_found", f"there is no token {reference!r}")
    return _token(row)


def list_tokens(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[Token]:
    query = select(tables.token)
    if project_id is not None:
        query = query.where(tables.token.c.project_id == project_id)
    rows = connection.execute(paged(query, tables.token, ask))
    return cut([(row.created_at, row.id, _token(row)) for row in rows], newest_revision(connection), ask)
