"""Reads of moves: their four records joined; and what a host is told of those that it is an end of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Row, Select, func, select

from houyi.model.errors import NotFound
from houyi.model.ids import HostId, MigrationId, ProjectId, VmId
from houyi.model.migration import DesiredMove, End, GuestSample, Migration, MigrationCourse, ObservedMove, Order
from houyi.model.vm import DesiredVm, ObservedVm
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.migration_docs import Asked, Samples
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _query() -> Select[tuple[object, ...]]:
    migration, course = tables.migration, tables.migration_course
    columns = (migration, course.c.doc.label("course_doc"), course.c.revision.label("course_revision"))
    return select(*columns).join(course, course.c.migration_id == migration.c.id)


def _migrations(connection: Connection, rows: Sequence[Row[tuple[object, ...]]]) -> list[Migration]:
    observed = tables.migration_observed
    seen: dict[tuple[str, str], tuple[ObservedMove, int]] = {}
    if rows:
        query = select(observed).where(observed.c.migration_id.in_([row.id for row in rows]))
        seen = {(row.migration_id, row.host_id): (load(row.doc, ObservedMove), row.revision) for row in connection.execute(query)}
    asked = {row.id: load(row.doc, Asked) for row in rows}
    ends = {host for one in asked.values() for host in (one.source_id, one.destination_id)}
    heard = _heard(connection, ends)
    gone = frozenset(ends - set(connection.execute(select(tables.host.c.id).where(tables.host.c.id.in_(list(ends)))).scalars()))
    return [_migration(row, asked[row.id], seen, heard, gone) for row in rows]


def _migration(
    row: Row[tuple[object, ...]], asked: Asked, seen: dict[tuple[str, str], tuple[ObservedMove, int]], heard: frozenset[str], gone: frozenset[HostId]
) -> Migration:
    source, destination = seen.get((row.id, asked.source_id)), seen.get((row.id, asked.destination_id))
    return Migration(
        id=MigrationId(row.id),
        project_id=ProjectId(row.project_id),
        vm_id=VmId(row.vm_id),
        vm_name=asked.vm.name,
        source_id=asked.source_id,
        destination_id=asked.destination_id,
        epoch=row.epoch,
        operation_id=asked.operation_id,
        spec=asked.spec,
        course=load(row.course_doc, MigrationCourse),
        forecast=asked.forecast,
        source=source[0] if source else None,
        destination=destination[0] if destination else None,
        source_heard=asked.source_id in heard,
        destination_heard=asked.destination_id in heard,
        gone=gone & {asked.source_id, asked.destination_id},
        created_at=row.created_at,
        revision=max(row.revision, row.course_revision, *(one[1] for one in (source, destination) if one)),
    )


def _heard(connection: Connection, host_ids: set[HostId]) -> frozenset[str]:
    seen = tables.host_observed
    return frozenset(connection.execute(select(seen.c.host_id).where(seen.c.host_id.in_(list(host_ids)), seen.c.connected)).scalars())


def get_migration(connection: Connection, migration_id: str, project_id: ProjectId | None) -> Migration:
    """:raise NotFound: `migration_not_found`."""
    query = _query().where(tables.migration.c.id == migration_id)
    if project_id is not None:
        query = query.where(tables.migration.c.project_id == project_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("migration_not_found", f"there is no migration {migration_id!r}: see `houyi migration list`")
    return _migrations(connection, [row])[0]


def migrations_by_id(connection: Connection, migration_ids: Iterable[str], project_id: ProjectId | None = None) -> dict[str, Migration]:
    """Those of them that are there, and that the project may see (None: every project)."""
    query = _query().where(tables.migration.c.id.in_(list(migration_ids)))
    if project_id is not None:
        query = query.where(tables.migration.c.project_id == project_id)
    return {one.id: one for one in _migrations(connection, list(connection.execute(query)))}


def list_migrations(connection: Connection, project_id: ProjectId | None, ask: Ask, *, vm_id: str | None = None, open_only: bool = False) -> Page[Migration]:
    query = _query()
    if project_id is not None:
        query = query.where(tables.migration.c.project_id == project_id)
    if vm_id is not None:
        query = query.where(tables.migration.c.vm_id == vm_id)
    if open_only:
        query = query.where(~tables.migration_course.c.ended)
    found = _migrations(connection, list(connection.execute(paged(query, tables.migration, ask))))
    return cut([(one.created_at, one.id, one) for one in found], newest_revision(connection), ask)


def open_migrations(connection: Connection) -> list[Migration]:
    """Those that have not ended."""
    return _migrations(connection, list(connection.execute(_query().where(~tables.migration_course.c.ended))))


def moves_away(connection: Connection, host_id: HostId, reason: str, since: float) -> list[Migration]:
    """Moves from a host that were asked for a reason, not before `since` (Unix seconds), oldest first."""
    query = _query().where(tables.migration.c.created_at >= since).order_by(tables.migration.c.created_at, tables.migration.c.id)
    found = _migrations(connection, list(connection.execute(query)))
    return [one for one in found if one.source_id == host_id and one.spec.reason == reason]


def open_migration_of(connection: Connection, vm_id: str) -> Migration | None:
    """The move that the VM is on."""
    row = connection.execute(_query().where(~tables.migration_course.c.ended, tables.migration.c.vm_id == vm_id)).first()
    return None if row is None else _migrations(connection, [row])[0]


def last_migrations(connection: Connection, limit: int) -> list[Migration]:
    """The newest that have ended, the newest last: what forecasts learn from."""
    query = _query().where(tables.migration_course.c.ended).order_by(tables.migration.c.created_at.desc()).limit(limit)
    return _migrations(connection, list(connection.execute(query)))[::-1]


def samples_of(connection: Connection, vm_ids: Iterable[str]) -> dict[VmId, tuple[GuestSample, ...]]:
    """The last samples of those guests that were looked at, the newest last."""
    table = tables.vm_sample
    rows = connection.execute(select(table.c.vm_id, table.c.doc).where(table.c.vm_id.in_(list(vm_ids))))
    return {VmId(row.vm_id): load(row.doc, Samples).samples for row in rows}


def ends_of(connection: Connection, migration_id: str) -> frozenset[HostId]:
    """Its two hosts; none when it is not there."""
    doc = connection.execute(select(tables.migration.c.doc).where(tables.migration.c.id == migration_id)).scalar_one_or_none()
    asked = load(doc, Asked) if doc is not None else None
    return frozenset() if asked is None else frozenset({asked.source_id, asked.destination_id})


def newest_epoch(connection: Connection, vm_id: VmId) -> int:
    """The highest that a move of the VM was ever given; 0: none. No two have the same, so that what is late from one is never taken for the other's."""
    found = connection.execute(select(func.max(tables.migration.c.epoch)).where(tables.migration.c.vm_id == vm_id)).scalar_one_or_none()
    return int(found or 0)


def moves_of(connection: Connection, host_id: HostId) -> tuple[DesiredMove, ...]:
    """What a host is told of the moves that it is an end of."""
    course, claimed = tables.migration_course, tables.migration
    rows = list(connection.execute(_query().where(~course.c.ended).order_by(claimed.c.created_at, claimed.c.id)))
    asked = {row.id: load(row.doc, Asked) for row in rows}
    mine = [row for row in rows if host_id in (asked[row.id].source_id, asked[row.id].destination_id)]
    if not mine:
        return ()
    vms = {
        row.id: load(row.doc, DesiredVm)
        for row in connection.execute(select(tables.vm.c.id, tables.vm.c.doc).where(tables.vm.c.id.in_([row.vm_id for row in mine])))
    }
    vms |= _running(connection, vms)
    found = (
        _move(one, vms.get(one.vm_id, asked[one.id].vm), End.SOURCE if one.source_id == host_id else End.DESTINATION) for one in _migrations(connection, mine)
    )
    return tuple(move for move in found if move is not None)


def _running(connection: Connection, vms: Mapping[str, DesiredVm]) -> dict[str, DesiredVm]:
    """With the settings that they run with, which a move does not change: the destination admits no others."""
    seen = tables.vm_observed
    rows = connection.execute(select(seen.c.vm_id, seen.c.doc).where(seen.c.vm_id.in_(list(vms))))
    return {row.vm_id: replace(vms[row.vm_id], tuning=load(row.doc, ObservedVm).tuned) for row in rows}


def _move(migration: Migration, vm: DesiredVm, end: End) -> DesiredMove | None:
    """None: it is not told anything yet, or any more."""
    order = migration.course.orders.get(end)
    if order is None:
        return None
    source = end is End.SOURCE
    return DesiredMove(
        id=migration.id,
        vm=replace(vm, epoch=migration.epoch),
        end=end,
        order=order,
        kind=migration.spec.kind,
        peer=migration.destination_id if source else migration.source_id,
        terms=migration.spec.terms,
        landing=migration.destination.landing if source and migration.destination is not None else None,
    )


def landing_vms(moves: Sequence[DesiredMove]) -> list[DesiredVm]:
    """VMs of which a host needs networks and image though they are not its own yet."""
    return [move.vm for move in moves if move.end is End.DESTINATION and move.order is Order.PREPARE]
