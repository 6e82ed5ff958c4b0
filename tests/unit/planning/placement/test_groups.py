"""Groups, NUMA nodes and weights: what the choice prefers among hosts that all could."""

import pytest

from fleets import SMALL, a_fleet, a_group, a_host
from houyi.model.host import Accelerator
from houyi.model.ids import HostId
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength
from houyi.planning.placement.choose import choose
from houyi.planning.placement.fleet import Fleet, Request
from houyi.planning.placement.numa import fitted, on_nodes

APART, NEAR = GroupPolicy.ANTI_AFFINITY, GroupPolicy.AFFINITY


def six() -> Fleet:
    """a0 a1 | b0 b1 in zone x, c0 c1 in zone y; a, b, c are racks."""
    return a_fleet(*(a_host(f"{rack}{n}", labels={"rack": rack, "zone": "y" if rack == "c" else "x"}) for rack in "abc" for n in range(2)))


def place(fleet: Fleet, request: Request, count: int) -> list[str]:
    """As many of them as can be placed, one after another."""
    placed = []
    for _ in range(count):
        choice = choose(fleet, request)
        if choice.host_id is None:
            break
        fleet.take(choice.host_id, choice.amounts, request.group)
        placed.append(choice.host_id)
    return placed


@pytest.mark.parametrize(("scope", "domains"), [(FaultDomain.HOST, 6), (FaultDomain.RACK, 3), (FaultDomain.ZONE, 2)])
def test_hard_apart_ends_when_the_domains_do(scope: FaultDomain, domains: int) -> None:
    fleet = six()
    request = Request(asked=SMALL, group=a_group(APART, scope=scope))
    placed = place(fleet, request, 10)
    assert len(placed) == domains
    assert len({{"host": host, "rack": host[0], "zone": str(host[0] == "c")}[scope.value] for host in placed}) == domains
    choice = choose(fleet, request)
    assert choice.why_not == "6 hosts: the placement group's rule forbids it"
    assert all("of group 'group' on" in look.why for look in choice.table())


def test_apart_on_hosts_prefers_other_zones_then_other_racks() -> None:
    placed = place(six(), Request(asked=SMALL, group=a_group(APART)), 3)
    assert placed == ["a0", "c0", "b0"]


def test_soft_apart_goes_on_when_the_domains_end() -> None:
    placed = place(six(), Request(asked=SMALL, group=a_group(APART, GroupStrength.SOFT)), 12)
    assert sorted(placed) == sorted([f"{rack}{n}" for rack in "abc" for n in range(2)] * 2)


@pytest.mark.parametrize("strength", GroupStrength)
def test_near_stays_together_while_there_is_room(strength: GroupStrength) -> None:
    fleet = six()
    placed = place(fleet, Request(asked=SMALL | {"memory_mib": 1700}, group=a_group(NEAR, strength, FaultDomain.RACK)), 6)
    assert placed[:4] == ["a0", "a1", "a0", "a1"]
    assert len(placed) == (4 if strength is GroupStrength.HARD else 6)


def test_a_host_without_the_label_takes_none_of_a_hard_group() -> None:
    group = a_group(APART, scope=FaultDomain.RACK)
    choice = choose(a_fleet(a_host("a"), a_host("b", labels={"rack": "1"}, claimed={"memory_mib": 1000})), Request(asked=SMALL, group=group))
    assert choice.host_id == "b"
    assert choice.table()[1].why == "the host has no label 'rack'"


def test_hardware_outweighs_a_soft_wish() -> None:
    group = a_group(APART, GroupStrength.SOFT)
    members = {group.id: {HostId("kvm"): 3}}
    fleet = a_fleet(a_host("kvm", accelerator=Accelerator.KVM), a_host("tcg"), members=members)
    assert choose(fleet, Request(asked=SMALL, group=group)).host_id == "kvm"


def test_a_group_is_counted_where_it_is() -> None:
    group = a_group(NEAR)
    assert choose(a_fleet(a_host("a"), a_host("b"), members={group.id: {HostId("b"): 1}}), Request(asked=SMALL, group=group)).host_id == "b"


def test_packing_fills_one_host_before_the_next() -> None:
    def order(packing: float) -> list[str]:
        fleet, placed = six(), []
        for _ in range(8):
            choice = choose(fleet, Request(asked=SMALL), packing=packing)
            assert choice.host_id is not None
            fleet.take(choice.host_id, choice.amounts)
            placed.append(choice.host_id)
        return placed

    assert len(set(order(0.0))) == 6
    assert order(5.0) == ["a0"] * 7 + ["a1"]


def test_a_choice_is_explained_before_the_next_only() -> None:
    fleet = six()
    choice = choose(fleet, Request(asked=SMALL))
    assert choice.host_id is not None
    fleet.take(choice.host_id, choice.amounts)
    with pytest.raises(RuntimeError, match="before"):
        choice.table()


@pytest.mark.parametrize(
    ("vcpu", "memory_mib", "nodes"),
    [
        (1, 100, (1,)),  # the one with the most vCPUs left
        (1, 900, (0,)),  # the only one with the memory
        (6, 100, (0, 1)),  # more vCPUs than a node has CPUs
        (4, 1600, (0, 1)),
        (9, 100, None),
        (1, 1700, None),  # halves of 850 fit no second node
    ],
)
def test_as_few_nodes_as_can_be(vcpu: int, memory_mib: int, nodes: tuple[int, ...] | None) -> None:
    left = {0: {"vcpu": 8, "memory_mib": 1000}, 1: {"vcpu": 12, "memory_mib": 800}}
    asked = {"vcpu": vcpu, "memory_mib": memory_mib, "disk_gib": 1}
    assert fitted(asked, left, {0: 4, 1: 4}) == nodes


def test_what_is_claimed_on_nodes() -> None:
    asked = {"vcpu": 3, "memory_mib": 101, "disk_gib": 7}
    assert on_nodes(asked, (0, 2)) == {**asked, "vcpu@0": 2, "vcpu@2": 1, "memory_mib@0": 51, "memory_mib@2": 50}
    assert on_nodes(asked, ()) == asked


def test_nodes_fill_evenly_and_the_host_is_full_only_when_both_are() -> None:
    host = a_host("a", cpus=4, memory_mib=4608, numa=2)
    fleet = a_fleet(host)
    placed = [choose(fleet, Request(asked=SMALL)) for _ in range(1)]
    nodes = []
    while placed[-1].host_id is not None:
        nodes.append(placed[-1].numa_nodes)
        fleet.take(placed[-1].host_id, placed[-1].amounts)
        placed.append(choose(fleet, Request(asked=SMALL)))
    assert nodes == [(0,), (1,)] * 4
    assert placed[-1].why_not == "1 host: not enough left"


def test_one_vm_larger_than_a_node_claims_on_both() -> None:
    choice = choose(a_fleet(a_host("a", cpus=8, memory_mib=8192, numa=2)), Request(asked={"vcpu": 6, "memory_mib": 6000, "disk_gib": 1}))
    assert (choice.host_id, choice.numa_nodes) == ("a", (0, 1))
    assert {name: amount for name, amount in choice.amounts.items() if "@" in name} == {"vcpu@0": 3, "vcpu@1": 3, "memory_mib@0": 3000, "memory_mib@1": 3000}
