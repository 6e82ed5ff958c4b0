"""Mutations of join tokens."""

from sqlalchemy import Connection, insert, update

from houyi.model.errors import Forbidden
from houyi.model.ids import HostId, JoinTokenId
from houyi.model.join_token import JoinToken
from houyi.store import tables
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop


def insert_join_token(token: JoinToken) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.join_token).values(
                id=token.id,
                secret_sha256=token.secret_sha256,
                expires_at=token.expires_at,
                used_by="",
                created_at=token.created_at,
                revision=revision,
            )
        )

    return Mutation("join_token", token.id, None, write)


def use_join_token(token_id: JoinTokenId, host_id: HostId) -> Mutation:
    """:raise Forbidden: `join_token_used`: somebody was faster; it lets in one host only."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.join_token
        used = connection.execute(update(table).where(table.c.id == token_id, table.c.used_by == "").values(used_by=host_id, revision=revision))
        if used.rowcount == 0:
            raise Forbidden("join_token_used", "this join token has been used or revoked: make a new one with `houyi host join-token`")

    return Mutation("join_token", token_id, None, write)


def delete_join_token(token_id: JoinTokenId) -> Mutation:
    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.join_token, {"id": token_id})

    return Mutation("join_token", token_id, None, write, Op.DELETE)
