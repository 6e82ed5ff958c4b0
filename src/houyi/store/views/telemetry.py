"""Reads of what VMs did: the history of one, and the newest period of many."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from houyi.model.ids import HostId, ProjectId, VmId
from houyi.model.telemetry import VmRates
from houyi.store import tables
from houyi.store.docs import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A VM's period, with what people call it and its host."""

    rates: VmRates
    vm_name: str
    project_id: ProjectId
    host_id: HostId
    """That counted it; the VM may have moved since."""
    host_name: str
    """'' if the host was removed."""


def projects_held(connection: Connection, host_id: HostId) -> dict[VmId, ProjectId]:
    """The VMs whose home a host is, and to whom they belong."""
    vm, claim = tables.vm, tables.claim
    query = select(vm.c.id, vm.c.project_id).join(claim, claim.c.id == vm.c.id).where(claim.c.host_id == host_id)
    return {VmId(row.id): ProjectId(row.project_id) for row in connection.execute(query)}


def history(connection: Connection, vm_id: VmId, since: float) -> list[Period]:
    """Periods of a VM that ended after `since` (Unix seconds), oldest first."""
    return _periods(connection, tables.telemetry.c.vm_id == vm_id, since)


def newest(connection: Connection, project_id: ProjectId | None, since: float) -> list[Period]:
    """The newest period of each VM (of a project; None: of all) that has one which ended after `since`; in the order of their names."""
    found = _periods(connection, True if project_id is None else tables.vm.c.project_id == project_id, since)
    last = {period.rates.vm_id: period for period in found}
    return sorted(last.values(), key=lambda period: (period.vm_name, period.rates.vm_id))


def _periods(connection: Connection, which: object, since: float) -> list[Period]:
    vm, host, table = tables.vm, tables.host, tables.telemetry
    query = (
        select(table.c.doc, table.c.host_id, vm.c.name, vm.c.project_id, host.c.name.label("host_name"))
        .join(vm, vm.c.id == table.c.vm_id)
        .outerjoin(host, host.c.id == table.c.host_id)
        .where(table.c.ended_at > since)
        .order_by(table.c.ended_at)
    )
    if which is not True:
        query = query.where(which)  # type: ignore[arg-type] # a condition of SQLAlchemy's
    return [
        Period(
            rates=load(row.doc, VmRates),
            vm_name=row.name,
            project_id=ProjectId(row.project_id),
            host_id=HostId(row.host_id),
            host_name=row.host_name or "",
        )
        for row in connection.execute(query)
    ]
