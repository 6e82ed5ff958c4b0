"""Mutations of VMs. Desired state (`vm`, `nic`) is written by commands and placement, observed state by intake."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from houyi.model.errors import NotFound, Stale
from houyi.model.ids import HostId, ProjectId, VmId
from houyi.model.migration import GuestSample
from houyi.model.vm import DesiredNic, DesiredVm, ObservedVm
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.migration_docs import Samples
from houyi.store.mutation import Act, Look, Mutation, Op, Precondition, Row, Rows
from houyi.store.rows.write import drop, put

SAMPLES_KEPT = 64
"""Of a VM: five hours, at one every five minutes."""


def expect_vm(vm_id: VmId, revision: int) -> Precondition:
    """The desired record is still at `revision`. :raise Stale: `revision_mismatch`. :raise NotFound: `vm_not_found`."""

    def check(row: Mapping[str, Any] | None) -> None:
        if row is None:
            raise NotFound("vm_not_found", f"there is no VM {vm_id}")
        if row["revision"] != revision:
            raise Stale("revision_mismatch", "the VM was changed meanwhile: read it again and repeat the request")

    return Look(tables.vm, (vm_id,), ("revision",), check)


def insert_vm(desired: DesiredVm, protected: bool, created_at: float) -> Mutation:
    """:raise Conflict: `name_taken`, `address_taken`; `in_use`: what it refers to is gone."""
    rows = [
        Row(
            Act.INSERT,
            tables.vm,
            (desired.id,),
            lambda revision: {**_values(desired, protected, revision), "project_id": desired.project_id, "created_at": created_at},
        )
    ]
    rows += [_nic(desired.id, nic) for nic in desired.nics]
    if desired.spec.placement_group_id is not None:
        group = {"placement_group_id": desired.spec.placement_group_id}
        rows.append(Row(Act.INSERT, tables.placement_group_member, (desired.id,), lambda _: group))
    if desired.spec.pool_id is not None:
        pool = {"pool_id": desired.spec.pool_id}
        rows.append(Row(Act.INSERT, tables.pool_vm, (desired.id,), lambda _: pool))
    return Mutation("vm", desired.id, desired.project_id, Rows(rows))


def _nic(vm_id: VmId, nic: DesiredNic) -> Row:
    return Row(Act.INSERT, tables.nic, (nic.mac,), lambda _: {"vm_id": vm_id, "network_id": nic.network_id, "address": nic.address or None})


def update_vm(desired: DesiredVm, protected: bool) -> Mutation:
    """Everything but the NICs, which a VM keeps for life. :raise Conflict: `name_taken`."""
    row = Row(Act.UPDATE, tables.vm, (desired.id,), lambda revision: _values(desired, protected, revision))
    return Mutation("vm", desired.id, desired.project_id, Rows([row]))


def remove_vm(vm_id: VmId, project_id: ProjectId) -> Mutation:
    """The record, its addresses, its claims and what was observed: when nothing of the VM is left anywhere."""

    def write(connection: Connection, _revision: int) -> None:
        claims = select(tables.claim.c.id).where(tables.claim.c.vm_id == vm_id).scalar_subquery()
        connection.execute(delete(tables.claim_amount).where(tables.claim_amount.c.claim_id.in_(claims)))
        drop(connection, tables.claim, {"vm_id": vm_id})
        drop(connection, tables.nic, {"vm_id": vm_id})
        drop(connection, tables.placement_group_member, {"vm_id": vm_id})
        drop(connection, tables.pool_vm, {"vm_id": vm_id})
        drop(connection, tables.vm_observed, {"vm_id": vm_id})
        drop(connection, tables.vm_sample, {"vm_id": vm_id})
        drop(connection, tables.telemetry, {"vm_id": vm_id})
        drop(connection, tables.vm, {"id": vm_id})

    return Mutation("vm", vm_id, project_id, write, Op.DELETE)


def put_observed(host_id: HostId, project_id: ProjectId, observed: ObservedVm) -> Mutation:
    """What the host says. :raise Stale: `observation_old`: its epoch is not the claim's, or the host does not hold the claim."""

    def check(claim: Mapping[str, Any] | None) -> None:
        if claim is None or claim["host_id"] != host_id or claim["epoch"] != observed.epoch:
            raise Stale("observation_old", f"host {host_id} reported VM {observed.id} at epoch {observed.epoch}, which it does not hold")

    row = Row(Act.PUT, tables.vm_observed, (observed.id,), lambda revision: {"host_id": host_id, "doc": dump(observed), "revision": revision})
    return Mutation("vm", observed.id, project_id, Rows([row], [Look(tables.claim, (observed.id,), ("host_id", "epoch"), check)]))


def add_sample(sample: GuestSample, project_id: ProjectId) -> Mutation:
    """Beside the last ones of its VM; nobody watches them."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.vm_sample
        if connection.execute(select(tables.vm.c.id).where(tables.vm.c.id == sample.vm_id)).first() is None:
            return  # it was deleted meanwhile
        doc = connection.execute(select(table.c.doc).where(table.c.vm_id == sample.vm_id)).scalar_one_or_none()
        kept = (*(load(doc, Samples).samples if doc is not None else ()), sample)[-SAMPLES_KEPT:]
        put(connection, table, {"vm_id": sample.vm_id}, {"doc": dump(Samples(kept)), "revision": revision})

    return Mutation("vm_sample", sample.vm_id, project_id, write, quiet=True)


def _values(desired: DesiredVm, protected: bool, revision: int) -> dict[str, object]:
    return {
        "name": desired.name,
        "image_id": desired.spec.image_id,
        "deleted": desired.deleted,
        "protected": protected,
        "doc": dump(desired),
        "revision": revision,
    }
