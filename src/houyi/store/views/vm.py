"""Reads of VMs: the three records joined."""

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import Connection, Row, Select, and_, bindparam, select

from houyi.model.errors import NotFound
from houyi.model.ids import HostId, MigrationId, ProjectId, VmId
from houyi.model.migration import HOLDS, MigrationState
from houyi.model.names import is_id
from houyi.model.vm import DesiredVm, ObservedVm, Vm
from houyi.store import tables
from houyi.store.changes import Change, changes_since
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.migration import ends_of
from houyi.store.views.page import Ask, Page, cut, paged

_HOLDS = sorted(state.value for state in HOLDS)


@cache
def _query() -> Select[tuple[object, ...]]:
    """Made once: to put a join together takes longer than to run it."""
    vm, claim, observed, host, course = tables.vm, tables.claim, tables.vm_observed, tables.host_observed, tables.migration_course
    held = and_(course.c.vm_id == vm.c.id, ~course.c.ended, course.c.state.in_(_HOLDS))
    return (
        select(vm, claim.c.host_id, observed.c.doc.label("observed_doc"), host.c.connected, course.c.migration_id, course.c.state.label("migration_state"))
        .outerjoin(claim, claim.c.id == vm.c.id)
        .outerjoin(observed, observed.c.vm_id == vm.c.id)
        .outerjoin(host, host.c.host_id == claim.c.host_id)
        .outerjoin(course, held)
    )


@cache
def _query_one(by_id: bool, of_project: bool) -> Select[tuple[object, ...]]:
    table = tables.vm
    found = table.c.id == bindparam("reference") if by_id else and_(table.c.name == bindparam("reference"), ~table.c.deleted)
    query = _query().where(found)
    return (query.where(table.c.project_id == bindparam("project")) if of_project else query).order_by(table.c.created_at)


def _vm(row: Row[tuple[object, ...]]) -> Vm:
    return Vm(
        desired=load(row.doc, DesiredVm),
        protected=row.protected,
        host_id=HostId(row.host_id) if row.host_id else None,
        observed=load(row.observed_doc, ObservedVm) if row.observed_doc else None,
        host_heard=bool(row.connected),
        migration_id=MigrationId(row.migration_id) if row.migration_id else None,
        migration_unknown=row.migration_state == MigrationState.UNKNOWN.value,
        created_at=row.created_at,
        revision=row.revision,
    )


def get_vm(connection: Connection, reference: str, project_id: ProjectId | None) -> Vm:
    """By id also while it is being deleted; by name only a living one. :raise NotFound: `vm_not_found`."""
    row = connection.execute(_query_one(is_id(reference), project_id is not None), {"reference": reference, "project": project_id}).first()
    if row is None:
        raise NotFound("vm_not_found", f"there is no VM {reference!r}: see `houyi vm list`")
    return _vm(row)


def list_vms(connection: Connection, project_id: ProjectId | None, ask: Ask, *, name: str | None = None) -> Page[Vm]:
    query = _query()
    if project_id is not None:
        query = query.where(tables.vm.c.project_id == project_id)
    if name is not None:
        query = query.where(tables.vm.c.name == name)
    rows = connection.execute(paged(query, tables.vm, ask))
    return cut([(row.created_at, row.id, _vm(row)) for row in rows], newest_revision(connection), ask)


def vms_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Vm]:
    """Those of them that exist."""
    rows = connection.execute(_query().where(tables.vm.c.id.in_(list(ids))))
    return {row.id: _vm(row) for row in rows}


def unplaced_vms(connection: Connection) -> Sequence[Vm]:
    """Waiting for a host, oldest first; deleted ones too, since they can go at once."""
    rows = connection.execute(_query().where(tables.claim.c.host_id.is_(None)).order_by(tables.vm.c.created_at))
    return [_vm(row) for row in rows]


def vms_of_host(connection: Connection, host_id: HostId) -> Sequence[Vm]:
    rows = connection.execute(_query().where(tables.claim.c.host_id == host_id).order_by(tables.vm.c.created_at))
    return [_vm(row) for row in rows]


def all_vms(connection: Connection, project_id: ProjectId | None = None) -> Sequence[Vm]:
    query = _query()
    if project_id is not None:
        query = query.where(tables.vm.c.project_id == project_id)
    return [_vm(row) for row in connection.execute(query)]


def host_of(connection: Connection, vm_id: VmId) -> HostId | None:
    """Which host holds the claim."""
    found = connection.execute(select(tables.claim.c.host_id).where(tables.claim.c.id == vm_id)).scalar_one_or_none()
    return HostId(found) if found else None


def _hosts_of(connection: Connection, change: Change) -> frozenset[HostId]:
    """Whom a change concerns; nobody in particular: any."""
    if change.kind == "vm":
        host_id = host_of(connection, VmId(change.id))
        return frozenset() if host_id is None else frozenset({host_id})
    return ends_of(connection, change.id) if change.kind == "migration" else frozenset()


def held_by(connection: Connection, vm_id: VmId) -> dict[str, int]:
    """What its home's claim holds, by resource class; nothing without a home."""
    table = tables.claim_amount
    return {row.resource: row.amount for row in connection.execute(select(table.c.resource, table.c.amount).where(table.c.claim_id == vm_id))}


def hosts_of_changes(connection: Connection, since: int, newest: int) -> tuple[int, frozenset[HostId] | None]:
    """Which hosts' desired state may have changed since a revision, and up to which revision that is known; None: any host's.

    :raise Stale: `watch_too_old`.
    """
    changes = changes_since(connection, since, ("vm", "network", "image", "migration", "pool"), None)
    last = changes[-1].revision if changes else newest
    hosts: set[HostId] = set()
    for change in changes:
        found = _hosts_of(connection, change)
        if not found:
            return last, None
        hosts |= found
    return last, frozenset(hosts)
