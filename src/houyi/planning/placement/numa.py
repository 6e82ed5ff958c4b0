"""NUMA: a host with more than one node has the classes `vcpu@N` and `memory_mib@N` beside its totals, and a VM is fitted to as few nodes as can be."""

from collections.abc import Mapping, Sequence

from houyi.model.host import HostFacts
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU, Amounts

BY_NODE = (VCPU, MEMORY_MIB)
"""The classes that nodes have a part of."""


def at(resource: str, node: int) -> str:
    """The class of a node's part."""
    return f"{resource}@{node}"


def base_of(resource: str) -> str:
    """'vcpu@1' -> 'vcpu'."""
    return resource.partition("@")[0]


def nodes_of(amounts: Amounts) -> tuple[int, ...]:
    """The nodes that amounts are of, ascending; empty where there is one node only."""
    prefix = at(VCPU, 0)[:-1]
    return tuple(sorted(int(name.removeprefix(prefix)) for name in amounts if name.startswith(prefix)))


def capacity(facts: HostFacts) -> dict[str, int]:
    """What a host has of each class. Nodes of memory only are no place for a VM and appear in the totals alone."""
    found = {VCPU: facts.cpus, MEMORY_MIB: facts.memory_mib, DISK_GIB: facts.disk_gib}
    whole = [node for node in facts.numa if node.cpus and node.memory_mib > 0]
    if len(whole) > 1:
        for node in whole:
            found[at(VCPU, node.number)] = len(node.cpus)
            found[at(MEMORY_MIB, node.number)] = node.memory_mib
    return found


def largest_part(amount: int, parts: int) -> int:
    return -(-amount // parts)


def on_nodes(asked: Amounts, nodes: Sequence[int]) -> dict[str, int]:
    """What a VM claims where it was fitted to these nodes: what it asks for, and the parts of each node, which differ by one unit at most."""
    claimed = dict(asked)
    for resource in BY_NODE:
        amount = asked.get(resource, 0)
        for place, node in enumerate(nodes):
            claimed[at(resource, node)] = amount // len(nodes) + (place < amount % len(nodes))
    return claimed


def fitted(asked: Amounts, left: Mapping[int, Mapping[str, int]], cpus: Mapping[int, int]) -> tuple[int, ...] | None:
    """The fewest nodes that take even parts of a VM; among as many, those with the most vCPUs left, so that one node is not full while another idles.

    :param left: node -> class (without the node) -> units left. :param cpus: node -> CPUs: a VM's part never shares fewer CPUs than it has vCPUs.
    :return: ascending; None: it fits no set of nodes.
    """
    for parts in range(1, len(left) + 1):
        vcpus = largest_part(asked.get(VCPU, 0), parts)
        takers = [
            node
            for node, has in left.items()
            if cpus[node] >= vcpus and all(has.get(resource, 0) >= largest_part(asked.get(resource, 0), parts) for resource in BY_NODE)
        ]
        if len(takers) >= parts:
            best = sorted(takers, key=lambda node: (-left[node].get(VCPU, 0), -left[node].get(MEMORY_MIB, 0), node))
            return tuple(sorted(best[:parts]))
    return None
