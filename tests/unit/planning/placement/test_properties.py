"""Placement against a plain reading of its rules, one host at a time: for any fleet, any VM, and any number of VMs one after another."""

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fleets import RATIOS, a_fleet, a_group, a_host
from houyi.model.host import Accelerator, Host
from houyi.model.ids import HostId
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength, PlacementGroup
from houyi.model.resources import add, missing
from houyi.planning.placement.choose import Choice, choose, limits
from houyi.planning.placement.filters import FILTERS
from houyi.planning.placement.fleet import Request
from houyi.planning.placement.groups import domain_of, why_broken
from houyi.planning.placement.numa import nodes_of
from houyi.planning.placement.scores import SCORES

HOSTS = st.lists(
    st.builds(
        a_host,
        st.uuids().map(str),
        cpus=st.integers(4, 12),
        memory_mib=st.integers(1000, 6000),
        claimed=st.fixed_dictionaries({"vcpu": st.integers(0, 40), "memory_mib": st.integers(0, 4096), "disk_gib": st.integers(0, 250)}),
        cordoned=st.sampled_from([False, False, True]),
        accelerator=st.sampled_from(Accelerator),
        numa=st.integers(1, 4),
        labels=st.fixed_dictionaries({}, optional={"rack": st.sampled_from("ab"), "zone": st.sampled_from("xy")}),
        storages=st.sampled_from([{}, {"fast": "id"}]),
    ),
    max_size=8,
    unique_by=lambda host: host.id,
)
GROUPS = st.none() | st.builds(
    a_group, st.sampled_from(GroupPolicy), st.sampled_from(GroupStrength), st.sampled_from(FaultDomain), st.sampled_from(["one", "two"])
)
REQUESTS = st.builds(
    Request,
    asked=st.fixed_dictionaries({"vcpu": st.integers(1, 8), "memory_mib": st.integers(64, 4096), "disk_gib": st.integers(1, 100)}),
    labels=st.sampled_from([{}, {}, {"zone": "x"}]),
    storage=st.sampled_from(["local", "local", "fast"]),
    group=GROUPS,
)


def takes(host: Host, claimed: dict[str, int], request: Request, others: list[Host]) -> bool:
    """The rules in words. :param others: where the VMs of its group are."""
    limit = limits(host, RATIOS, 512)
    left = {name: amount - claimed.get(name, 0) for name, amount in limit.items()}
    group = request.group
    keeps_group = group is None or group.spec.strength is GroupStrength.SOFT or not broken(group, host, others)
    return (
        not host.cordoned
        and all(host.labels.get(key) == value for key, value in request.labels.items())
        and (request.storage == "local" or (host.facts is not None and request.storage in host.facts.storages))
        and host.capacity["vcpu"] >= request.asked["vcpu"]
        and not missing(request.asked, left)
        and fits_some_nodes(host, left, request)
        and keeps_group
    )


def broken(group: PlacementGroup, host: Host, others: list[Host]) -> str:
    scope = group.spec.scope
    return why_broken(group.spec, domain_of(scope, host.id, host.labels), [domain_of(scope, other.id, other.labels) for other in others])


def fits_some_nodes(host: Host, left: dict[str, int], request: Request) -> bool:
    nodes = nodes_of(host.capacity)
    return not nodes or any(
        all(
            host.capacity[f"vcpu@{node}"] * count >= request.asked["vcpu"]
            and left[f"vcpu@{node}"] * count >= request.asked["vcpu"]
            and left[f"memory_mib@{node}"] * count >= request.asked["memory_mib"]
            for node in some
        )
        for count in range(1, len(nodes) + 1)
        for some in itertools.combinations(nodes, count)
    )


@given(HOSTS, REQUESTS, st.randoms(use_true_random=False))
def test_what_is_chosen_fits_and_every_other_host_has_one_reason(hosts: list[Host], request: Request, random: Any) -> None:
    choice = choose(a_fleet(*hosts), request)
    table = choice.table()
    assert sorted(look.host_id for look in table) == sorted(host.id for host in hosts), "every host once"
    for look in table:
        (host,) = [one for one in hosts if one.id == look.host_id]
        assert takes(host, dict(host.claimed), request, []) == (not look.removed_by)
        assert bool(look.removed_by) == bool(look.why) == (not look.scores)
        assert look.chosen == (host.id == choice.host_id)
        if not look.removed_by:
            assert set(look.scores) == {score.name for score in SCORES}
            assert all(0.0 <= look.scores[score.name] <= score.weight for score in SCORES)
    assert choice.removed == {one.name: sum(look.removed_by == one.name for look in table) for one in FILTERS}
    assert sum(choice.removed.values()) + len(choice.scores) == len(hosts)
    assert (choice.host_id is None) == (not choice.scores)
    if choice.host_id is not None:
        assert table[0].chosen, "the best is first, and is the one"
    shuffled = list(hosts)
    random.shuffle(shuffled)
    again = choose(a_fleet(*shuffled), request)
    assert (again.host_id, again.removed, again.left, again.amounts, again.table()) == (choice.host_id, choice.removed, choice.left, choice.amounts, table)


@settings(max_examples=60)
@given(HOSTS, st.lists(REQUESTS, max_size=25), st.sampled_from([0.0, 5.0]))
def test_one_after_another_they_never_exceed_a_limit_nor_break_a_rule(hosts: list[Host], requests: list[Request], packing: float) -> None:
    """The fleet that is told of each choice answers as a new one would that is made of what has been claimed."""
    fleet = a_fleet(*hosts)
    now = {host.id: host for host in hosts}
    groups: dict[str, PlacementGroup] = {}
    members: dict[str, list[HostId]] = {}
    for request in requests:
        if request.group is not None:
            request = replace(request, group=groups.setdefault(request.group.id, request.group))
        choice = choose(fleet, request, packing=packing)
        counts = {group_id: {host_id: there.count(host_id) for host_id in there} for group_id, there in members.items()}
        fresh = choose(a_fleet(*now.values(), members=counts), request, packing=packing)  # type: ignore[arg-type]
        assert (fresh.host_id, fresh.removed, fresh.amounts, fresh.table()) == (choice.host_id, choice.removed, choice.amounts, choice.table())
        if choice.host_id is None:
            continue
        host = now[choice.host_id]
        there = members.setdefault(request.group.id, []) if request.group else []
        assert takes(host, dict(host.claimed), request, [now[one] for one in there])
        check_nodes(host, request, choice)
        fleet.take(choice.host_id, choice.amounts, request.group)
        there.append(choice.host_id)
        now[choice.host_id] = replace(host, claimed=add(host.claimed, choice.amounts))
        assert not missing(now[choice.host_id].claimed, limits(host, RATIOS, 512))


def check_nodes(host: Host, request: Request, choice: Choice) -> None:
    assert bool(choice.numa_nodes) == bool(nodes_of(host.capacity))
    if choice.numa_nodes:
        for resource in ("vcpu", "memory_mib"):
            parts = [choice.amounts[f"{resource}@{node}"] for node in choice.numa_nodes]
            assert (sum(parts), max(parts) - min(parts) <= 1) == (request.asked[resource], True)
    assert {name: choice.amounts[name] for name in request.asked} == request.asked
