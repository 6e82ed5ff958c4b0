"""What a host has of each class."""

from fleets import a_host
from houyi.model.host import NumaNode
from houyi.planning.placement.choose import limits
from houyi.planning.placement.filters import amounts_of
from houyi.planning.placement.numa import capacity
from made import a_vm, an_image, facts


def node(number: int, cpus: int, memory_mib: int) -> NumaNode:
    return NumaNode(number=number, cpus=tuple(range(cpus)), memory_mib=memory_mib)


def test_a_host_of_one_node_has_no_classes_of_nodes() -> None:
    whole = {"vcpu": 8, "memory_mib": 900, "disk_gib": 100}
    for nodes in ((), (node(0, 8, 900),), (node(0, 8, 900), node(1, 0, 5000)), (node(0, 8, 900), node(1, 4, 0))):
        assert capacity(facts(cpus=8, memory_mib=900, numa=nodes)) == whole, "a node without CPUs or without memory is no place for a VM"


def test_a_host_of_two_nodes_has_both_parts() -> None:
    two = capacity(facts(cpus=8, memory_mib=900, numa=(node(0, 6, 600), node(2, 2, 300))))
    assert two == {"vcpu": 8, "memory_mib": 900, "disk_gib": 100, "vcpu@0": 6, "vcpu@2": 2, "memory_mib@0": 600, "memory_mib@2": 300}


def test_nodes_share_ratios_and_what_is_reserved() -> None:
    host = a_host(cpus=4, memory_mib=4000, numa=2)
    assert limits(host, {"vcpu": 2.0}, 501) == {
        "vcpu": 8,
        "memory_mib": 3499,
        "disk_gib": 100,
        "vcpu@0": 4,
        "vcpu@1": 4,
        "memory_mib@0": 1749,
        "memory_mib@1": 1749,
    }


def test_what_a_vm_holds_follows_its_nodes() -> None:
    vm = a_vm(an_image(), vcpus=3, memory_mib=100, numa_nodes=(0, 1))
    assert amounts_of(vm) == {"vcpu": 3, "memory_mib": 164, "disk_gib": 1, "vcpu@0": 2, "vcpu@1": 1, "memory_mib@0": 82, "memory_mib@1": 82}
