"""Reads of placement groups, and of where their VMs are."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select

from houyi.model.errors import NotFound
from houyi.model.ids import HostId, PlacementGroupId, ProjectId, VmId
from houyi.model.placement_group import PlacementGroup, PlacementGroupSpec
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.views.page import Ask, Page
from houyi.store.views.plain import Plain


def _group(row: Row[Any]) -> PlacementGroup:
    return PlacementGroup(
        id=PlacementGroupId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        spec=load(row.doc, PlacementGroupSpec),
        created_at=row.created_at,
        revision=row.revision,
    )


_GROUPS = Plain(
    tables.placement_group,
    _group,
    lambda reference: NotFound("placement_group_not_found", f"there is no placement group {reference!r}: see `houyi placement-group list`"),
)


def get_placement_group(connection: Connection, reference: str, project_id: ProjectId | None) -> PlacementGroup:
    """:raise NotFound: `placement_group_not_found`."""
    return _GROUPS.get(connection, reference, project_id)


def list_placement_groups(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[PlacementGroup]:
    return _GROUPS.list(connection, ask, project_id)


def placement_groups_by_id(connection: Connection, ids: Iterable[PlacementGroupId]) -> dict[PlacementGroupId, PlacementGroup]:
    """Those of them that exist."""
    wanted = sorted(set(ids))
    rows = connection.execute(select(tables.placement_group).where(tables.placement_group.c.id.in_(wanted))) if wanted else ()
    return {PlacementGroupId(row.id): _group(row) for row in rows}


def members_by_host(connection: Connection, ids: Iterable[PlacementGroupId], without: VmId | None = None) -> dict[PlacementGroupId, dict[HostId, int]]:
    """Group -> host -> how many of its VMs have a claim there: a VM that is being moved has two. :param without: a VM that does not count."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    claim, member = tables.claim, tables.placement_group_member
    query = (
        select(member.c.placement_group_id, claim.c.host_id, func.count())
        .join(claim, claim.c.vm_id == member.c.vm_id)
        .where(member.c.placement_group_id.in_(wanted))
        .group_by(member.c.placement_group_id, claim.c.host_id)
    )
    if without is not None:
        query = query.where(member.c.vm_id != without)
    found: dict[PlacementGroupId, dict[HostId, int]] = {}
    for group_id, host_id, count in connection.execute(query):
        found.setdefault(PlacementGroupId(group_id), {})[HostId(host_id)] = count
    return found
