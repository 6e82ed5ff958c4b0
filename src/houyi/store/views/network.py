"""Reads of networks: a project sees its own and the shared ones."""

from sqlalchemy import Connection, Row, or_, select

from houyi.model.errors import NotFound
from houyi.model.ids import NetworkId, ProjectId
from houyi.model.names import is_id
from houyi.model.network import Network, NetworkSpec
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _network(row: Row[tuple[object, ...]]) -> Network:
    return Network(
        id=NetworkId(row.id),
        project_id=ProjectId(row.project_id) if row.project_id else None,
        name=row.name,
        spec=load(row.doc, NetworkSpec),
        created_at=row.created_at,
        revision=row.revision,
    )


def get_network(connection: Connection, reference: str, project_id: ProjectId | None) -> Network:
    """A project's own network hides a shared one of the same name. :raise NotFound: `network_not_found`."""
    table = tables.network
    query = select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)
    if project_id is not None:
        query = query.where(or_(table.c.project_id == project_id, table.c.project_id.is_(None)))
    row = connection.execute(query.order_by(table.c.project_id.is_(None), table.c.created_at)).first()
    if row is None:
        raise NotFound("network_not_found", f"there is no network {reference!r}: see `houyi network list`")
    return _network(row)


def list_networks(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[Network]:
    query = select(tables.network)
    if project_id is not None:
        query = query.where(or_(tables.network.c.project_id == project_id, tables.network.c.project_id.is_(None)))
    rows = connection.execute(paged(query, tables.network, ask))
    return cut([(row.created_at, row.id, _network(row)) for row in rows], newest_revision(connection), ask)


def taken_addresses(connection: Connection, network_id: NetworkId) -> frozenset[str]:
    """IPv4 addresses that NICs hold on a network."""
    query = select(tables.nic.c.address).where(tables.nic.c.network_id == network_id, tables.nic.c.address.is_not(None))
    return frozenset(connection.execute(query).scalars())
