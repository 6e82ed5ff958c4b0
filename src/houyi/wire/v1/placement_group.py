"""Placement groups as JSON."""

from collections.abc import Mapping

from pydantic import Field

from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength
from houyi.model.placement_group import PlacementGroup as ModelPlacementGroup
from houyi.wire.v1.shape import Asked, Id, Page, Revision, Shown, Text, Time, rfc3339


class PlacementGroupCreate(Asked):
    """A group never changes: its VMs are placed by what it says."""

    name: Text = Field(description="RFC 1123 label, unique in the project.")
    policy: GroupPolicy = Field(description="affinity: its VMs share one fault domain; anti-affinity: no two of them do.")
    strength: GroupStrength = Field(
        GroupStrength.HARD, description="hard: a VM that would break the rule is not placed; soft: kept where there is room for it."
    )
    scope: FaultDomain = Field(FaultDomain.HOST, description="The fault domain; a host's rack and zone are its labels 'rack' and 'zone'.")


class PlacementGroup(Shown):
    id: Id
    name: str
    project_id: Id
    project_name: str
    policy: GroupPolicy
    strength: GroupStrength
    scope: FaultDomain
    created_at: Time
    revision: Revision


class PlacementGroupPage(Page[PlacementGroup]):
    """A page of placement groups."""


def show_placement_group(group: ModelPlacementGroup, names: Mapping[str, str]) -> PlacementGroup:
    """:param names: id to name of its project."""
    return PlacementGroup(
        id=group.id,
        name=group.name,
        project_id=group.project_id,
        project_name=names.get(group.project_id, ""),
        policy=group.spec.policy,
        strength=group.spec.strength,
        scope=group.spec.scope,
        created_at=rfc3339(group.created_at),
        revision=group.revision,
    )
