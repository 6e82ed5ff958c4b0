"""The rules of placement groups: where a fault domain ends, and whether a host may take one more of a group. Also used where the claim is written."""

from collections.abc import Collection, Mapping

from houyi.model.ids import HostId
from houyi.model.placement_group import FaultDomain, GroupPolicy, PlacementGroupSpec


def domain_of(scope: FaultDomain, host_id: HostId, labels: Mapping[str, str]) -> str | None:
    """What names a host's fault domain; None: it has no such label, so that nobody knows what it fails with."""
    return host_id if scope is FaultDomain.HOST else labels.get(scope.value) or None


def why_broken(spec: PlacementGroupSpec, domain: str | None, others: Collection[str | None]) -> str:
    """Why a VM in `domain` breaks the group's rule, the group's other VMs being in `others`; '' if it does not. Strength is not looked at."""
    if domain is None:
        return f"the host has no label {spec.scope.value!r}"
    if spec.policy is GroupPolicy.ANTI_AFFINITY and domain in others:
        return f"a VM of the group is on this {spec.scope.value} already"
    if spec.policy is GroupPolicy.AFFINITY and others and domain not in others:
        return f"the VMs of the group are on another {spec.scope.value}"
    return ""
