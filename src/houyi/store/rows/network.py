"""Mutations of networks."""

from ipaddress import IPv4Network

from sqlalchemy import Connection, insert, select

from houyi.model.errors import Conflict
from houyi.model.network import Network, NetworkKind, NetworkSpec
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Mutation, Op, Precondition
from houyi.store.rows.write import drop


def expect_network_fits(network: Network) -> Precondition:
    """What the schema cannot say: names of shared networks are unique too, and no two NAT networks share addresses, since they may meet on one host.

    :raise Conflict: `name_taken`, `cidr_overlaps`.
    """

    def check(connection: Connection) -> None:
        mine = IPv4Network(network.spec.cidr) if network.spec.kind is NetworkKind.NAT else None
        for row in connection.execute(select(tables.network.c.project_id, tables.network.c.name, tables.network.c.doc)):
            if row.name == network.name and row.project_id == network.project_id:
                raise Conflict("name_taken", f"there is a network {network.name!r} already: choose another name")
            other = load(row.doc, NetworkSpec)
            if mine is not None and other.kind is NetworkKind.NAT and IPv4Network(other.cidr).overlaps(mine):
                raise Conflict("cidr_overlaps", f"{network.spec.cidr} overlaps with another network: choose another range")

    return check


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
