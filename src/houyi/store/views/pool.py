"""Reads of pools: who is in them, what their hosts say, and what a host is told of its own."""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, Select, select

from houyi.model.errors import NotFound
from houyi.model.ids import HostId, PoolId
from houyi.model.names import is_id
from houyi.model.pool import Pool, PoolAnswer, PoolStatus
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.page import EVERYTHING, Ask, Page, cut, paged


def _query() -> Select[tuple[object, ...]]:
    status = tables.pool_status
    return select(tables.pool, status.c.doc).outerjoin(status, status.c.pool_id == tables.pool.c.id)


def _pools(connection: Connection, rows: Sequence[Row[tuple[object, ...]]]) -> list[Pool]:
    member, host = tables.pool_host, tables.host
    found: dict[str, dict[HostId, str]] = {}
    query = select(member.c.pool_id, host.c.id, host.c.name).join(host, host.c.id == member.c.host_id).order_by(host.c.created_at)
    for pool_id, host_id, name in connection.execute(query.where(member.c.pool_id.in_([row.id for row in rows]))):
        found.setdefault(pool_id, {})[HostId(host_id)] = name
    return [
        Pool(
            id=PoolId(row.id),
            name=row.name,
            status=load(row.doc, PoolStatus) if row.doc else PoolStatus(),
            hosts=found.get(row.id, {}),
            created_at=row.created_at,
            revision=row.revision,
        )
        for row in rows
    ]


def get_pool(connection: Connection, reference: str) -> Pool:
    """:raise NotFound: `pool_not_found`."""
    table = tables.pool
    row = connection.execute(_query().where((table.c.id if is_id(reference) else table.c.name) == reference)).first()
    if row is None:
        raise NotFound("pool_not_found", f"there is no pool {reference!r}: see `houyi pool list`")
    return _pools(connection, [row])[0]


def list_pools(connection: Connection, ask: Ask = EVERYTHING) -> Page[Pool]:
    found = _pools(connection, list(connection.execute(paged(_query(), tables.pool, ask))))
    return cut([(pool.created_at, pool.id, pool) for pool in found], newest_revision(connection), ask)


def answers_of(connection: Connection, pool_id: PoolId) -> dict[HostId, PoolAnswer]:
    """What its hosts have said last."""
    table = tables.pool_answer
    rows = connection.execute(select(table.c.host_id, table.c.doc).where(table.c.pool_id == pool_id))
    return {HostId(row.host_id): load(row.doc, PoolAnswer) for row in rows}


def answer_of(connection: Connection, host_id: HostId) -> PoolAnswer | None:
    table = tables.pool_answer
    doc = connection.execute(select(table.c.doc).where(table.c.host_id == host_id)).scalar_one_or_none()
    return None if doc is None else load(doc, PoolAnswer)


def pool_of(connection: Connection, host_id: HostId) -> tuple[PoolId, PoolStatus] | None:
    """The pool that a host is in; None: in none."""
    member, status = tables.pool_host, tables.pool_status
    query = select(member.c.pool_id, status.c.doc).outerjoin(status, status.c.pool_id == member.c.pool_id).where(member.c.host_id == host_id)
    row = connection.execute(query).first()
    return None if row is None else (PoolId(row.pool_id), load(row.doc, PoolStatus) if row.doc else PoolStatus())
