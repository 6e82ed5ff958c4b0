"""Hosts and fleets as placement sees them, for tests."""

from collections.abc import Mapping
from typing import Any

from houyi.model.host import Host, NumaNode
from houyi.model.ids import HostId, PlacementGroupId
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength, PlacementGroup, PlacementGroupSpec
from houyi.planning.placement.choose import limits
from houyi.planning.placement.fleet import Fleet, Members
from houyi.planning.placement.numa import capacity
from made import MINE, facts

RATIOS = {"vcpu": 4.0, "memory_mib": 1.0, "disk_gib": 2.0}
SMALL = {"vcpu": 1, "memory_mib": 512, "disk_gib": 1}


def a_host(name: str = "a", *, cpus: int = 4, memory_mib: int = 4096, disk_gib: int = 100, claimed: Mapping[str, int] | None = None, **values: Any) -> Host:
    """:param numa: even NUMA nodes."""
    joined = values.pop("joined", True)
    nodes = values.pop("numa", 1)
    values["numa"] = tuple(
        NumaNode(number=n, cpus=tuple(range(n * cpus // nodes, (n + 1) * cpus // nodes)), memory_mib=memory_mib // nodes) for n in range(nodes)
    )
    labels, cordoned = values.pop("labels", {}), values.pop("cordoned", False)
    pool_id, pool_name = values.pop("pool_id", None), values.pop("pool_name", "")
    known = facts(cpus=cpus, memory_mib=memory_mib, disk_gib=disk_gib, **values)
    return Host(
        id=HostId(name),
        name=name,
        labels=labels,
        cordoned=cordoned,
        pool_id=pool_id,
        pool_name=pool_name,
        facts=known if joined else None,
        load=None,
        capacity=capacity(known),
        claimed={} if claimed is None else claimed,
        last_seen_at=1.0,
        connected=joined,
        created_at=1.0,
        revision=1,
    )


def a_fleet(*hosts: Host, members: Members | None = None) -> Fleet:
    return Fleet(hosts, [limits(host, RATIOS, 512) for host in hosts], members)


def a_group(
    policy: GroupPolicy = GroupPolicy.ANTI_AFFINITY, strength: GroupStrength = GroupStrength.HARD, scope: FaultDomain = FaultDomain.HOST, name: str = "group"
) -> PlacementGroup:
    spec = PlacementGroupSpec(policy=policy, strength=strength, scope=scope)
    return PlacementGroup(id=PlacementGroupId(f"id of {name}"), project_id=MINE, name=name, spec=spec, created_at=1.0, revision=0)
