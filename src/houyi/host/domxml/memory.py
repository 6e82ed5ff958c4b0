"""Memory, and the balloon through which the guest gives free pages back to the host."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices

STATS_SECONDS = 10
"""How often the guest reports what it uses; libvirt answers from the newest report."""


def configure(ctx: DomainContext, domain: Element) -> None:
    """On the NUMA nodes that the VM was fitted to, as long as they have any: 'strict' would let the kernel kill a guest for one node's shortage beside another that is empty."""
    child(domain, "memory", str(ctx.vm.spec.memory_mib), unit="MiB")
    child(domain, "currentMemory", str(ctx.vm.spec.memory_mib), unit="MiB")
    if ctx.nodes:
        numbers = ",".join(str(node.number) for node in ctx.nodes)
        child(child(domain, "numatune"), "memory", mode="interleave" if len(ctx.nodes) > 1 else "preferred", nodeset=numbers)
    balloon = child(devices(domain), "memballoon", model="virtio", autodeflate="on", freePageReporting="on")
    child(balloon, "stats", period=str(STATS_SECONDS))
