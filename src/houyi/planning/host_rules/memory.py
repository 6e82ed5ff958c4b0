"""How the memory of guests is backed, shared and placed."""

from collections.abc import Iterator

from houyi.model.host_report import Area, HostTraits, Item
from houyi.planning.host_rules.words import many, mib, unknown

_LARGE_MIB = 32 * 1024
"""A machine of this size and more is one for VMs: pages set aside are worth planning for there."""


def _item(name: str, value: str, meaning: str, advice: str = "", weight: int = 0) -> Item:
    return Item(name=name, area=Area.MEMORY, value=value, meaning=meaning, advice=advice, weight=weight if advice else 0)


def _size(page_kib: int) -> str:
    return f"{page_kib >> 20} GiB" if page_kib >= 1 << 20 else f"{page_kib >> 10} MiB"


def huge_pools(traits: HostTraits) -> Iterator[Item]:
    memory = traits.memory
    meaning = "guests whose memory is in huge pages need fewer levels of translation and no page faults later; the pages serve nothing else"
    pools = [pool for pool in memory.huge_pools if pool.total]
    if not pools:
        large = (memory.total_mib or 0) >= _LARGE_MIB
        if not memory.huge_pools:
            yield _item("huge pages", unknown(traits, "memory.huge_pools"), meaning)
            return
        advice = "set pages aside for large VMs while memory is in one piece: `default_hugepagesz=1G hugepagesz=1G hugepages=N` on the kernel command line"
        yield _item("huge pages", "none set aside", meaning, advice, 45 if large else 10)
        return
    value = "; ".join(f"node {pool.node}: {pool.total} of {_size(pool.page_kib)}, {pool.free} free" for pool in pools)
    advice = ""
    for size in sorted({pool.page_kib for pool in pools}):
        there = {pool.node: pool.total for pool in pools if pool.page_kib == size}
        nodes = [node.number for node in memory.nodes if node.memory_mib]
        bare = [number for number in nodes if number not in there]
        if bare:
            where = ", ".join(str(number) for number in bare)
            advice = f"set pages of {_size(size)} aside on node {where} too (/sys/devices/system/node/node*/hugepages): VMs there have none of their own node"
    yield _item("huge pages", value, meaning, advice, 35)


def thp(traits: HostTraits) -> Iterator[Item]:
    memory = traits.memory
    meaning = "the kernel backs guests with 2 MiB pages where it finds them; QEMU asks for it (madvise)"
    if memory.thp is None:
        yield _item("transparent huge pages", unknown(traits, "memory.thp"), meaning)
        return
    set_aside = any(pool.total for pool in memory.huge_pools)
    advice = "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`: guests are backed by 4 KiB pages now" if memory.thp == "never" else ""
    yield _item("transparent huge pages", memory.thp, meaning, advice, 30 if set_aside else 65)
    if memory.thp != "never" and memory.thp_defrag == "always":
        meaning = "a guest that touches new memory waits while the kernel makes room for a huge page"
        advice = "`echo defer+madvise > /sys/kernel/mm/transparent_hugepage/defrag`"
        yield _item("making huge pages", "always", meaning, advice, 20)
    if memory.thp_shmem in ("never", "deny"):
        meaning = "guests with shared memory (vhost-user) are backed by 4 KiB pages"
        advice = "`echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled`, if there are such guests"
        yield _item("transparent huge pages of shared memory", memory.thp_shmem, meaning, advice, 12)


def nodes(traits: HostTraits) -> Iterator[Item]:
    found = traits.memory.nodes
    if not found:
        yield _item("NUMA", unknown(traits, "memory.nodes"), "which CPUs reach which memory fastest")
        return
    value = "; ".join(f"{node.number}: CPUs {node.cpus or 'none'}, {mib(node.memory_mib)}" for node in found)
    if len(found) == 1:
        yield _item("NUMA", f"1 node ({value})", "all CPUs reach all memory alike")
        return
    far = max((distance for node in found for distance in node.distances), default=0)
    bare = [node.number for node in found if node.cpus and not node.memory_mib]
    advice = f"put memory into the slots of node {', '.join(map(str, bare))}: its CPUs reach all memory by way of another node" if bare else ""
    meaning = "memory of another node takes longer: a VM that fits one node should be on one"
    yield _item("NUMA", f"{many(len(found), 'node')}, farthest {far} (10 is near): {value}", meaning, advice, 50)
    if traits.memory.numa_balancing:
        meaning = "the kernel unmaps pages now and then, to see who uses them, and moves them: page faults in guests, which pinned ones pay for nothing"
        advice = "`sysctl kernel.numa_balancing=0`, if VMs are pinned to nodes"
        yield _item("automatic NUMA balancing", "on", meaning, advice, 25)


def ksm(traits: HostTraits) -> Iterator[Item]:
    memory = traits.memory
    meaning = "equal pages of guests are kept once: room for more of them, for CPU time, split huge pages, and ways to find out what neighbours have in memory"
    if memory.ksm_run is None:
        yield _item("page merging (KSM)", unknown(traits, "memory.ksm_run"), meaning)
        return
    if memory.ksm_run != 1:
        yield _item("page merging (KSM)", "off", meaning)
        return
    saved = memory.ksm_sharing_mib or 0
    advice = "`echo 2 > /sys/kernel/mm/ksm/run` (and stop ksmtuned), unless the memory that it saves is needed"
    yield _item("page merging (KSM)", f"on, saves {mib(saved)}", meaning, advice, 40)
    if memory.ksm_across_nodes and len(memory.nodes) > 1:
        meaning = "pages are merged over nodes: guests then read from memory that is far away"
        advice = "`echo 2 > /sys/kernel/mm/ksm/run; echo 0 > /sys/kernel/mm/ksm/merge_across_nodes; echo 1 > /sys/kernel/mm/ksm/run`"
        yield _item("page merging over nodes", "on", meaning, advice, 38)


def swap(traits: HostTraits) -> Iterator[Item]:
    memory = traits.memory
    meaning = "memory of guests that is not used goes to disk; a guest that wants it back stands still meanwhile"
    if memory.swap_mib is None:
        yield _item("swap", unknown(traits, "memory.swap_mib"), meaning)
        return
    if not memory.swap_mib:
        yield _item("swap", "none", "guests are never swapped out; when memory runs out, one is ended")
        return
    used, advice, weight = memory.swap_used_mib or 0, "", 0
    if used:
        advice, weight = "move VMs away or give them less memory: a part of what is in use is on disk", 55
    elif (memory.swappiness or 0) > 10:
        advice, weight = f"`sysctl vm.swappiness=1`: at {memory.swappiness} guests are swapped out while there is memory left for files", 30
    yield _item("swap", f"{mib(memory.swap_mib)}, {mib(used)} in use", meaning, advice, weight)


RULES = (huge_pools, thp, nodes, ksm, swap)
