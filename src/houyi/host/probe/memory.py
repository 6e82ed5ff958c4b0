"""How memory is given out: huge pages, nodes, merging, swap."""

import re

from houyi.host.probe.reading import Reading
from houyi.model.host_report import HugePool, MemoryTraits, NodeTraits

_NODES = "sys/devices/system/node"
_THP = "sys/kernel/mm/transparent_hugepage"
_KSM = "sys/kernel/mm/ksm"
_PAGE_KIB = 4


def read_memory(reading: Reading) -> MemoryTraits:
    nodes = tuple(sorted(int(name[4:]) for name in reading.names(_NODES) if re.fullmatch(r"node\d+", name)))
    sharing = reading.number(f"{_KSM}/pages_sharing")
    swap = _swap(reading)
    return MemoryTraits(
        total_mib=reading.parsed("proc/meminfo", _total_mib, "memory.total_mib"),
        huge_pools=_pools(reading, nodes),
        thp=reading.chosen(f"{_THP}/enabled", "memory.thp"),
        thp_defrag=reading.chosen(f"{_THP}/defrag", "memory.thp_defrag"),
        thp_shmem=reading.chosen(f"{_THP}/shmem_enabled", "memory.thp_shmem"),
        nodes=tuple(_node(reading, number) for number in nodes),
        numa_balancing=reading.flag("proc/sys/kernel/numa_balancing", "memory.numa_balancing"),
        ksm_run=reading.number(f"{_KSM}/run", "memory.ksm_run"),
        ksm_sharing_mib=None if sharing is None else sharing * _PAGE_KIB >> 10,
        ksm_across_nodes=reading.flag(f"{_KSM}/merge_across_nodes"),
        swap_mib=None if swap is None else swap[0],
        swap_used_mib=None if swap is None else swap[1],
        swappiness=reading.number("proc/sys/vm/swappiness", "memory.swappiness"),
    )


def _total_mib(text: str) -> int:
    found = re.search(r"MemTotal:\s*(\d+) kB", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) >> 10


def _node(reading: Reading, number: int) -> NodeTraits:
    folder = f"{_NODES}/node{number}"
    return NodeTraits(
        number=number,
        cpus=reading.text(f"{folder}/cpulist", "memory.nodes") or "",
        memory_mib=reading.parsed(f"{folder}/meminfo", _total_mib, "memory.nodes") or 0,
        distances=reading.parsed(f"{folder}/distance", lambda text: tuple(int(word) for word in text.split())) or (),
    )


def _pools(reading: Reading, nodes: tuple[int, ...]) -> tuple[HugePool, ...]:
    """By node where the kernel knows nodes, else as node 0."""
    folders = [(number, f"{_NODES}/node{number}/hugepages") for number in nodes] or [(0, "sys/kernel/mm/hugepages")]
    pools = []
    for number, folder in folders:
        for name in reading.names(folder):
            size = re.fullmatch(r"hugepages-(\d+)kB", name)
            total = reading.number(f"{folder}/{name}/nr_hugepages", "memory.huge_pools")
            if size is not None and total is not None:
                free = reading.number(f"{folder}/{name}/free_hugepages", "memory.huge_pools") or 0
                pools.append(HugePool(node=number, page_kib=int(size[1]), total=total, free=free))
    return tuple(pools)


def _swap(reading: Reading) -> tuple[int, int] | None:
    """(size, used) in MiB."""

    def parse(text: str) -> tuple[int, int]:
        rows = [line.split() for line in text.splitlines()[1:]]
        return sum(int(row[2]) for row in rows) >> 10, sum(int(row[3]) for row in rows) >> 10

    return reading.parsed("proc/swaps", parse, "memory.swap_mib")
