"""Mutations of users' tokens."""

from sqlalchemy import Connection, insert

from houyi.model.token import Token
from houyi.store import tables
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop


def insert_token(token: Token) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.token).values(
                id=token.id,
                project_id=token.project_id,
                name=token.name,
                role=token.role.value,
                secret_sha256=token.secret_sha256,
                expires_at=token.expires_at,
                created_at=token.created_at,
                revision=revision,
            )
        )

    return Mutation("token", token.id, token.project_id, write)


def delete_token(token: Token) -> Mutation:
    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.token, {"id": token.id})

    return Mutation("token", token.id, token.project_id, write, Op.DELETE)
