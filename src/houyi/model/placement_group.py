"""A placement group: VMs that shall be near each other, or apart, and how firmly. What it says never changes, so that nothing that was placed by it becomes wrong."""

from dataclasses import dataclass
from enum import StrEnum

from houyi.model.ids import PlacementGroupId, ProjectId


class GroupPolicy(StrEnum):
    AFFINITY = "affinity"
    """Its VMs share one fault domain."""
    ANTI_AFFINITY = "anti-affinity"
    """No two of its VMs share a fault domain."""


class GroupStrength(StrEnum):
    HARD = "hard"
    """A VM that would break the rule is not placed."""
    SOFT = "soft"
    """Kept where there is room for it."""


class FaultDomain(StrEnum):
    """What fails together, from small to large. A host's rack and zone are its labels of these names."""

    HOST = "host"
    RACK = "rack"
    ZONE = "zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementGroupSpec:
    policy: GroupPolicy
    strength: GroupStrength = GroupStrength.HARD
    scope: FaultDomain = FaultDomain.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementGroup:
    id: PlacementGroupId
    project_id: ProjectId
    name: str
    spec: PlacementGroupSpec
    created_at: float
    revision: int
