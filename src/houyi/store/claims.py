"""Claims join a VM to a host and hold its resources there. A claim is checked again inside its own transaction, so it may lose.

A VM has one for its home (the claim's id is the VM's) and, while it moves, one for the place where it lands (the migration's id).
"""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, delete, func, insert, select, update

from houyi.model.errors import Conflict, NoCapacity, NotFound, Stale
from houyi.model.ids import HostId
from houyi.model.migration import Migration, MigrationState
from houyi.model.placement_group import GroupStrength, PlacementGroupSpec
from houyi.model.resources import Amounts, missing
from houyi.model.vm import DesiredVm
from houyi.planning.placement.groups import domain_of, why_broken
from houyi.planning.placement.numa import nodes_of
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Mutation
from houyi.store.rows.write import drop


def claimed_on(connection: Connection, host_id: HostId, without: str | None = None) -> dict[str, int]:
    """What is claimed on a host, by resource class. :param without: a claim that does not count."""
    query = (
        select(tables.claim_amount.c.resource, func.sum(tables.claim_amount.c.amount))
        .join(tables.claim, tables.claim.c.id == tables.claim_amount.c.claim_id)
        .where(tables.claim.c.host_id == host_id)
        .group_by(tables.claim_amount.c.resource)
    )
    if without is not None:
        query = query.where(tables.claim.c.id != without)
    return {resource: int(amount) for resource, amount in connection.execute(query)}


def claimed_by(connection: Connection, claim_id: str) -> dict[str, int]:
    """What one claim holds; nothing when there is none."""
    return _amounts_of(connection, claim_id)


def _check_room(connection: Connection, host_id: HostId, amounts: Amounts, limits: Amounts, without: str | None) -> None:
    taken = claimed_on(connection, host_id, without)
    left = {name: limit - taken.get(name, 0) for name, limit in limits.items()}
    short = missing(amounts, left)
    if short:
        raise NoCapacity("no_capacity", "the host's room was taken meanwhile", asked=dict(amounts), left=left, short=short)


def _check_pool(connection: Connection, vm_id: str, host_id: HostId) -> None:
    """A VM that was made for a pool is on hosts of that pool only."""
    wanted = connection.execute(select(tables.pool_vm.c.pool_id).where(tables.pool_vm.c.vm_id == vm_id)).scalar_one_or_none()
    if wanted is None:
        return
    if connection.execute(select(tables.pool_host.c.pool_id).where(tables.pool_host.c.host_id == host_id)).scalar_one_or_none() != wanted:
        raise Stale("pool_left", "the host has left the VM's pool meanwhile: look again")


def _check_group(connection: Connection, vm_id: str, host_id: HostId) -> None:
    """The hard rule of the VM's placement group, over every claim of the group's other VMs: homes and landing places alike."""
    group, member, claim, host = tables.placement_group, tables.placement_group_member, tables.claim, tables.host
    row = connection.execute(select(group.c.id, group.c.name, group.c.doc).join(member).where(member.c.vm_id == vm_id)).first()
    if row is None:
        return
    spec = load(row.doc, PlacementGroupSpec)
    if spec.strength is not GroupStrength.HARD:
        return

    def domain(one: str, labels: str) -> str | None:
        return domain_of(spec.scope, HostId(one), load(labels, dict[str, str]))

    others = (
        select(host.c.id, host.c.labels)
        .join(claim, claim.c.host_id == host.c.id)
        .join(member, member.c.vm_id == claim.c.vm_id)
        .where(member.c.placement_group_id == row.id, member.c.vm_id != vm_id)
    )
    taken = {domain(other.id, other.labels) for other in connection.execute(others)}
    labels = connection.execute(select(host.c.labels).where(host.c.id == host_id)).scalar_one()
    if why := why_broken(spec, domain(host_id, labels), taken):
        raise Stale("placement_group_broken", f"placement group {row.name!r} forbids it: {why}; look again")


def claim_host(vm: DesiredVm, host_id: HostId, amounts: Amounts, limits: Amounts, at: float) -> Mutation:
    """Give a VM that has no host to one: its epoch grows by one in this transaction.

    :param limits: what may be claimed on that host in all, overcommit included.
    :raise NoCapacity: the room went to somebody else. :raise NotFound: the VM or host is gone.
    :raise Stale: `placed_already`, `vm_changed` (what it asks for may be another by now), `host_cordoned`, `pool_left`, `placement_group_broken`.
    """

    def write(connection: Connection, revision: int) -> None:
        row = connection.execute(select(tables.vm.c.doc).where(tables.vm.c.id == vm.id)).first()
        host = connection.execute(select(tables.host.c.cordoned).where(tables.host.c.id == host_id)).first()
        if row is None or host is None:
            raise NotFound("vm_not_found" if row is None else "host_not_found", "it was deleted meanwhile")
        if connection.execute(select(tables.claim.c.id).where(tables.claim.c.id == vm.id)).first() is not None:
            raise Stale("placed_already", "another server has placed this VM")
        desired = load(row.doc, DesiredVm)
        if desired.generation != vm.generation:
            raise Stale("vm_changed", "the VM was changed meanwhile: look again")
        if host.cordoned:
            raise Stale("host_cordoned", "the host was cordoned meanwhile: look again")
        _check_room(connection, host_id, amounts, limits, None)
        _check_pool(connection, vm.id, host_id)
        if desired.spec.placement_group_id is not None:
            _check_group(connection, vm.id, host_id)
        epoch = desired.epoch + 1
        connection.execute(insert(tables.claim).values(id=vm.id, vm_id=vm.id, host_id=host_id, epoch=epoch, created_at=at, revision=revision))
        _put_amounts(connection, vm.id, amounts)
        given = replace(desired, epoch=epoch, numa_nodes=nodes_of(amounts))
        connection.execute(update(tables.vm).where(tables.vm.c.id == vm.id).values(doc=dump(given), revision=revision))

    return Mutation("vm", vm.id, vm.project_id, write)


def grow_claim(vm: DesiredVm, host_id: HostId, amounts: Amounts, limits: Amounts) -> Mutation:
    """Claim more where the VM is; what it claims already is kept, since it may run with that until its next start (`settle_claim`).

    :raise NoCapacity: the host has no room for more. :raise Conflict: `vm_migrating`: where a move is to take it, the old size is held.
    """

    def write(connection: Connection, _revision: int) -> None:
        if connection.execute(select(tables.claim.c.id).where(tables.claim.c.vm_id == vm.id, tables.claim.c.id != vm.id)).first() is not None:
            raise Conflict("vm_migrating", "the VM is to be moved with the size that it has: change its size after the move, or cancel that")
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


def claim_landing(migration: Migration, amounts: Amounts, limits: Amounts, at: float) -> Mutation:
    """Hold the room that a VM needs where a migration takes it.

    :param limits: what may be claimed on the destination in all, overcommit included.
    :raise NoCapacity: the room went to somebody else. :raise NotFound: `host_not_found`. :raise Stale: `host_cordoned`, `pool_left`, `placement_group_broken`; `vm_moved`: it is not at its source.
    """

    def write(connection: Connection, revision: int) -> None:
        host = connection.execute(select(tables.host.c.cordoned).where(tables.host.c.id == migration.destination_id)).first()
        if host is None:
            raise NotFound("host_not_found", "the destination was removed meanwhile")
        if host.cordoned:
            raise Stale("host_cordoned", "the destination was cordoned meanwhile: look again")
        home = connection.execute(select(tables.claim.c.host_id).where(tables.claim.c.id == migration.vm_id)).scalar_one_or_none()
        if home != migration.source_id:
            raise Stale("vm_moved", "the VM has another home by now: look again")
        _check_room(connection, migration.destination_id, amounts, limits, None)
        _check_pool(connection, migration.vm_id, migration.destination_id)
        _check_group(connection, migration.vm_id, migration.destination_id)
        values = {"vm_id": migration.vm_id, "host_id": migration.destination_id, "epoch": migration.epoch, "created_at": at, "revision": revision}
        connection.execute(insert(tables.claim).values(id=migration.id, **values))
        _put_amounts(connection, migration.id, amounts)

    return Mutation("vm", migration.vm_id, migration.project_id, write)


def settle_landing(migration: Migration) -> Mutation:
    """The VM's home becomes where it landed, at the landing's epoch. What it claimed at its old home is free.

    :raise NotFound: `vm_not_found`: its record is gone. :raise Stale: `landing_gone`: it was settled or given back already.
    """

    def write(connection: Connection, revision: int) -> None:
        landing = connection.execute(select(tables.claim.c.epoch).where(tables.claim.c.id == migration.id)).first()
        row = connection.execute(select(tables.vm.c.doc).where(tables.vm.c.id == migration.vm_id)).first()
        if row is None:
            raise NotFound("vm_not_found", "the VM was deleted meanwhile")
        if landing is None:
            raise Stale("landing_gone", "the move was settled or given up already: look again")
        amounts = _amounts_of(connection, migration.id)
        drop(connection, tables.claim_amount, {"claim_id": migration.id})
        drop(connection, tables.claim, {"id": migration.id})
        home = {"host_id": migration.destination_id, "epoch": landing.epoch, "revision": revision}
        connection.execute(update(tables.claim).where(tables.claim.c.id == migration.vm_id).values(**home))
        _set_amounts(connection, migration.vm_id, amounts)
        desired = replace(load(row.doc, DesiredVm), epoch=landing.epoch, numa_nodes=nodes_of(amounts))
        connection.execute(update(tables.vm).where(tables.vm.c.id == migration.vm_id).values(doc=dump(desired), revision=revision))

    return Mutation("vm", migration.vm_id, migration.project_id, write)


def drop_landing(migration: Migration) -> Mutation:
    """Give back the room at the destination; there is none to give back: nothing."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.claim_amount, {"claim_id": migration.id})
        drop(connection, tables.claim, {"id": migration.id})

    return Mutation("vm", migration.vm_id, migration.project_id, write)


def drop_lost_landings(host_id: HostId, *, lost: bool) -> Mutation:
    """A host is removed: what was to be withdrawn from it is withdrawn by that. Landings of moves that may still end there stay, and keep the host; unless
    it is lost: then none ends there.
    """

    def write(connection: Connection, _revision: int) -> None:
        claim, course = tables.claim, tables.migration_course
        ending = ~course.c.ended if lost else course.c.state == MigrationState.ABORTING.value
        dropped = (claim.c.host_id == host_id) & claim.c.id.in_(select(course.c.migration_id).where(ending))
        connection.execute(delete(tables.claim_amount).where(tables.claim_amount.c.claim_id.in_(select(claim.c.id).where(dropped))))
        connection.execute(delete(claim).where(dropped))

    return Mutation("host", host_id, None, write)


def _amounts_of(connection: Connection, claim_id: str) -> dict[str, int]:
    table = tables.claim_amount
    return {row.resource: row.amount for row in connection.execute(select(table.c.resource, table.c.amount).where(table.c.claim_id == claim_id))}


def _set_amounts(connection: Connection, claim_id: str, amounts: Mapping[str, int]) -> None:
    drop(connection, tables.claim_amount, {"claim_id": claim_id})
    _put_amounts(connection, claim_id, amounts)


def _put_amounts(connection: Connection, claim_id: str, amounts: Mapping[str, int]) -> None:
    rows = [{"claim_id": claim_id, "resource": name, "amount": amount} for name, amount in amounts.items()]
    if rows:
        connection.execute(insert(tables.claim_amount), rows)
