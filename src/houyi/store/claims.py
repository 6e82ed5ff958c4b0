"""Claims join a VM to a host and hold its resources there. A claim is checked again inside its own transaction, so it may lose."""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, func, insert, select, update

from houyi.model.errors import NoCapacity, NotFound, Stale
from houyi.model.ids import HostId, VmId
from houyi.model.resources import Amounts, missing
from houyi.model.vm import DesiredVm
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Mutation
from houyi.store.rows.write import drop


def claimed_on(connection: Connection, host_id: HostId, without: VmId | None = None) -> dict[str, int]:
    """What the VMs of a host have claimed, by resource class."""
    query = (
        select(tables.claim_amount.c.resource, func.sum(tables.claim_amount.c.amount))
        .join(tables.claim, tables.claim.c.vm_id == tables.claim_amount.c.vm_id)
        .where(tables.claim.c.host_id == host_id)
        .group_by(tables.claim_amount.c.resource)
    )
    if without is not None:
        query = query.where(tables.claim.c.vm_id != without)
    return {resource: int(amount) for resource, amount in connection.execute(query)}


def _check_room(connection: Connection, host_id: HostId, amounts: Amounts, limits: Amounts, without: VmId | None) -> None:
    taken = claimed_on(connection, host_id, without)
    left = {name: limit - taken.get(name, 0) for name, limit in limits.items()}
    short = missing(amounts, left)
    if short:
        raise NoCapacity("no_capacity", "the host's room was taken meanwhile", asked=dict(amounts), left=left, short=short)


def claim_host(vm: DesiredVm, host_id: HostId, amounts: Amounts, limits: Amounts, at: float) -> Mutation:
    """Give a VM that has no host to one: its epoch grows by one in this transaction.

    :param limits: what may be claimed on that host in all, overcommit included.
    :raise NoCapacity: the room went to somebody else. :raise NotFound: the VM or host is gone.
    :raise Stale: `placed_already`, `vm_changed` (what it asks for may be another by now), `host_cordoned`.
    """

    def write(connection: Connection, revision: int) -> None:
        row = connection.execute(select(tables.vm.c.doc).where(tables.vm.c.id == vm.id)).first()
        host = connection.execute(select(tables.host.c.cordoned).where(tables.host.c.id == host_id)).first()
        if row is None or host is None:
            raise NotFound("vm_not_found" if row is None else "host_not_found", "it was deleted meanwhile")
        if connection.execute(select(tables.claim.c.vm_id).where(tables.claim.c.vm_id == vm.id)).first() is not None:
            raise Stale("placed_already", "another server has placed this VM")
        desired = load(row.doc, DesiredVm)
        if desired.generation != vm.generation:
            raise Stale("vm_changed", "the VM was changed meanwhile: look again")
        if host.cordoned:
            raise Stale("host_cordoned", "the host was cordoned meanwhile: look again")
        _check_room(connection, host_id, amounts, limits, None)
        epoch = desired.epoch + 1
        connection.execute(insert(tables.claim).values(vm_id=vm.id, host_id=host_id, epoch=epoch, created_at=at, revision=revision))
        _put_amounts(connection, vm.id, amounts)
        connection.execute(update(tables.vm).where(tables.vm.c.id == vm.id).values(doc=dump(replace(desired, epoch=epoch)), revision=revision))

    return Mutation("vm", vm.id, vm.project_id, write)


def grow_claim(vm: DesiredVm, host_id: HostId, amounts: Amounts, limits: Amounts) -> Mutation:
    """Claim more where the VM is; what it claims already is kept, since it may run with that until its next start (`settle_claim`).

    :raise NoCapacity: the host has no room for more.
    """

    def write(connection: Connection, _revision: int) -> None:
        present = _amounts_of(connection, vm.id)
        wanted = {name: max(amount, present.get(name, 0)) for name, amount in amounts.items()}
        if any(amount > present.get(name, 0) for name, amount in wanted.items()):
            _check_room(connection, host_id, wanted, limits, vm.id)
        _set_amounts(connection, vm.id, wanted)

    return Mutation("vm", vm.id, vm.project_id, write)


def settle_claim(vm: DesiredVm, amounts: Amounts) -> Mutation:
    """At its start a VM needs no more than it asks for: give back what a larger size claimed before. Never claims more."""

    def write(connection: Connection, _revision: int) -> None:
        present = _amounts_of(connection, vm.id)
        _set_amounts(connection, vm.id, {name: min(amounts.get(name, 0), amount) for name, amount in present.items()})

    return Mutation("vm", vm.id, vm.project_id, write)


def _amounts_of(connection: Connection, vm_id: VmId) -> dict[str, int]:
    table = tables.claim_amount
    return {row.resource: row.amount for row in connection.execute(select(table.c.resource, table.c.amount).where(table.c.vm_id == vm_id))}


def _set_amounts(connection: Connection, vm_id: VmId, amounts: Mapping[str, int]) -> None:
    drop(connection, tables.claim_amount, {"vm_id": vm_id})
    _put_amounts(connection, vm_id, amounts)


def _put_amounts(connection: Connection, vm_id: VmId, amounts: Mapping[str, int]) -> None:
    rows = [{"vm_id": vm_id, "resource": name, "amount": amount} for name, amount in amounts.items()]
    if rows:
        connection.execute(insert(tables.claim_amount), rows)
