"""Mutations of networks."""

from sqlalchemy import Connection, insert

from houyi.model.network import Network
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop


def insert_network(network: Network) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.network).values(
                id=network.id, project_id=network.project_id, name=network.name, doc=dump(network.spec), created_at=network.created_at, revision=revision
            )
        )

    return Mutation("network", network.id, network.project_id, write)


def delete_network(network: Network) -> Mutation:
    """:raise Conflict: `in_use` while a NIC is on it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.network, {"id": network.id})

    return Mutation("network", network.id, network.project_id, write, Op.DELETE)
