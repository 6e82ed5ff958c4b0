"""Mutations of hosts: who they are (commands) and what they report (intake)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from houyi.model.errors import Stale
from houyi.model.host import HostFacts, HostLoad
from houyi.model.ids import HostId, OperationId
from houyi.model.resources import Amounts
from houyi.model.tuning import HostTuned, TuningAsk
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Act, Look, Mutation, Op, Precondition, Row, Rows
from houyi.store.rows.write import drop


def expect_report(host_id: HostId, instance: str, serial: int) -> Precondition:
    """The report is newer than what was written down. :raise Stale: `report_old`: it is not, or its agent has been replaced, or the host removed."""

    def check(known: Mapping[str, Any] | None) -> None:
        if known is None or known["instance"] != instance or serial <= known["serial"]:
            raise Stale("report_old", f"report {serial} of host {host_id} is older than what is known")

    return Look(tables.host_observed, (host_id,), ("instance", "serial"), check)


def expect_silent(host_id: HostId, since: float) -> Precondition:
    """It has not been heard of after `since`. :raise Stale: `host_heard`."""

    def check(connection: Connection) -> None:
        seen = tables.host_observed
        if connection.execute(select(seen.c.host_id).where(seen.c.host_id == host_id, seen.c.last_seen_at > since)).first() is not None:
            raise Stale("host_heard", f"host {host_id} has been heard of again")

    return check


def insert_host(host_id: HostId, name: str, created_at: float) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(insert(tables.host).values(id=host_id, name=name, labels="{}", cordoned=False, created_at=created_at, revision=revision))

    return Mutation("host", host_id, None, write)


def update_host(host_id: HostId, *, cordoned: bool, drain_id: OperationId | None, labels: Mapping[str, str]) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        values = {"cordoned": cordoned, "drain_id": drain_id, "labels": dump(dict(labels)), "revision": revision}
        connection.execute(update(tables.host).where(tables.host.c.id == host_id).values(**values))

    return Mutation("host", host_id, None, write)


def set_host_tuning(host_id: HostId, ask: TuningAsk) -> Mutation:
    """What its own knobs shall be."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(update(tables.host).where(tables.host.c.id == host_id).values(tuning=dump(ask), revision=revision))

    return Mutation("host", host_id, None, write)


def delete_host(host_id: HostId) -> Mutation:
    """:raise Conflict: `in_use` while a VM has a claim on it."""

    def write(connection: Connection, _revision: int) -> None:
        for table in (tables.host_report, tables.pool_answer, tables.pool_host, tables.host_observed):
            drop(connection, table, {"host_id": host_id})
        drop(connection, tables.host, {"id": host_id})

    return Mutation("host", host_id, None, write, Op.DELETE)


def put_host_facts(host_id: HostId, instance: str, facts: HostFacts, capacity: Amounts, at: float) -> Mutation:
    """A host said Hello: a new instance of its agent, whose reports start at serial 0."""

    values = {
        "boot_id": facts.boot_id,
        "instance": instance,
        "serial": 0,
        "facts": dump(facts),
        "capacity": dump(dict(capacity)),
        "connected": True,
        "last_seen_at": at,
    }
    row = Row(Act.PUT, tables.host_observed, (host_id,), lambda revision: {**values, "revision": revision})
    return Mutation("host", host_id, None, Rows([row]))


def put_host_load(host_id: HostId, serial: int, load: HostLoad, at: float) -> Mutation:
    """A heartbeat that is worth remembering."""
    values = {"serial": serial, "load": dump(load), "connected": True, "last_seen_at": at}
    row = Row(Act.UPDATE, tables.host_observed, (host_id,), lambda revision: {**values, "revision": revision})
    return Mutation("host", host_id, None, Rows([row]))


def put_host_tuned(host_id: HostId, tuned: HostTuned) -> Mutation:
    """What its own knobs are."""
    row = Row(Act.UPDATE, tables.host_observed, (host_id,), lambda revision: {"tuned": dump(tuned), "revision": revision})
    return Mutation("host", host_id, None, Rows([row]))


def set_host_connected(host_id: HostId, connected: bool, at: float | None) -> Mutation:
    """:param connected: whether it was heard of within its lease. :param at: when it was last heard of; None leaves that."""

    values = {"connected": connected} if at is None else {"connected": connected, "last_seen_at": at}
    row = Row(Act.UPDATE, tables.host_observed, (host_id,), lambda revision: {**values, "revision": revision})
    return Mutation("host", host_id, None, Rows([row]))
