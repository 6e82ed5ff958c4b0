"""Mutations of SSH keys."""

from sqlalchemy import Connection

from houyi.model.ssh_key import SshKey
from houyi.store import tables
from houyi.store.mutation import Act, Mutation, Op, Row, Rows
from houyi.store.rows.write import drop


def insert_ssh_key(key: SshKey) -> Mutation:
    """:raise Conflict: `name_taken`."""
    values = {"project_id": key.project_id, "name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint, "created_at": key.created_at}
    row = Row(Act.INSERT, tables.ssh_key, (key.id,), lambda revision: {**values, "revision": revision})
    return Mutation("ssh_key", key.id, key.project_id, Rows([row]))


def delete_ssh_key(key: SshKey) -> Mutation:
    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.ssh_key, {"id": key.id})

    return Mutation("ssh_key", key.id, key.project_id, write, Op.DELETE)
