"""Memory, and the balloon through which the guest gives free pages back to the host."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices

STATS_SECONDS = 10
"""How often the guest reports what it uses; libvirt answers from the newest report."""


def configure(ctx: DomainContext, domain: Element) -> None:
    child(domain, "memory", str(ctx.vm.spec.memory_mib), unit="MiB")
    child(domain, "currentMemory", str(ctx.vm.spec.memory_mib), unit="MiB")
    balloon = child(devices(domain), "memballoon", model="virtio", autodeflate="on", freePageReporting="on")
    child(balloon, "stats", period=str(STATS_SECONDS))
