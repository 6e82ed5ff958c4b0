"""Mutations of hosts: who they are (commands) and what they report (intake)."""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, update

from houyi.model.host import HostFacts, HostLoad
from houyi.model.ids import HostId
from houyi.model.resources import Amounts
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop, put


def insert_host(host_id: HostId, name: str, created_at: float) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(insert(tables.host).values(id=host_id, name=name, labels="{}", cordoned=False, created_at=created_at, revision=revision))

    return Mutation("host", host_id, None, write)


def update_host(host_id: HostId, *, cordoned: bool, labels: Mapping[str, str]) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(update(tables.host).where(tables.host.c.id == host_id).values(cordoned=cordoned, labels=dump(dict(labels)), revision=revision))

    return Mutation("host", host_id, None, write)


def delete_host(host_id: HostId) -> Mutation:
    """:raise Conflict: `in_use` while a VM has a claim on it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.host_observed, {"host_id": host_id})
        drop(connection, tables.host, {"id": host_id})

    return Mutation("host", host_id, None, write, Op.DELETE)


def put_host_facts(host_id: HostId, instance: str, facts: HostFacts, capacity: Amounts, at: float) -> Mutation:
    """A host said Hello: a new instance of its agent, whose reports start at serial 0."""

    def write(connection: Connection, revision: int) -> None:
        values = {
            "boot_id": facts.boot_id,
            "instance": instance,
            "serial": 0,
            "facts": dump(facts),
            "capacity": dump(dict(capacity)),
            "connected": True,
            "last_seen_at": at,
            "revision": revision,
        }
        put(connection, tables.host_observed, {"host_id": host_id}, values)

    return Mutation("host", host_id, None, write)


def put_host_load(host_id: HostId, serial: int, load: HostLoad, at: float) -> Mutation:
    """A heartbeat that is worth remembering."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.host_observed
        values = {"serial": serial, "load": dump(load), "connected": True, "last_seen_at": at, "revision": revision}
        connection.execute(update(table).where(table.c.host_id == host_id).values(**values))

    return Mutation("host", host_id, None, write)


def set_host_connected(host_id: HostId, connected: bool, at: float | None) -> Mutation:
    """`at` None leaves the time when it was last seen."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.host_observed
        values: dict[str, object] = {"connected": connected, "revision": revision}
        if at is not None:
            values["last_seen_at"] = at
        connection.execute(update(table).where(table.c.host_id == host_id).values(**values))

    return Mutation("host", host_id, None, write)
