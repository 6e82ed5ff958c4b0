"""Reads of host reports."""

from sqlalchemy import Connection, select

from houyi.model.errors import NotFound
from houyi.model.host import Host
from houyi.model.host_report import HostReport, HostTraits
from houyi.model.ids import HostId
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.views.host import get_host


def report_of(connection: Connection, host_id: HostId) -> HostReport | None:
    """What a host said of itself last; None: nothing yet."""
    table = tables.host_report
    row = connection.execute(select(table.c.doc, table.c.at).where(table.c.host_id == host_id)).first()
    return None if row is None else HostReport(traits=load(row.doc, HostTraits), at=row.at)


def get_report(connection: Connection, reference: str) -> tuple[Host, HostReport]:
    """:param reference: name or id of a host. :raise NotFound: `host_not_found`, `host_report_not_found`."""
    host = get_host(connection, reference)
    found = report_of(connection, host.id)
    if found is None:
        raise NotFound("host_report_not_found", f"host {host.name} has not said yet what it can do: it does within a minute of its agent's start")
    return host, found
