"""A VM as libvirt domain XML: a tuple of small configurators, one file a device, each adding its part to a tree. Pure.

To add a device: a file with `configure(ctx, domain)`, a line in CONFIGURATORS, a golden file (docs/checklists).
"""

import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element

from houyi.host.domxml import agent, clock, cpu, disk, machine, memory, metadata, nic, panic, pci, rng, serial, video, watchdog
from houyi.host.domxml.context import Configure, DomainContext
from houyi.host.domxml.tuning import tune

CONFIGURATORS: tuple[Configure, ...] = (
    machine.configure,
    metadata.configure,
    cpu.configure,
    memory.configure,
    clock.configure,
    disk.configure,
    nic.configure,
    serial.configure,
    agent.configure,
    rng.configure,
    video.configure,
    panic.configure,
    watchdog.configure,
    pci.configure,
)


def domain_element(ctx: DomainContext) -> Element:
    """The <domain> of a VM. :raise Invalid: `text_invalid`."""
    domain = Element("domain")
    for configure in CONFIGURATORS:
        configure(ctx, domain)
    tune(ctx, domain)
    return domain


def domain_xml(ctx: DomainContext) -> str:
    """The same as text, for libvirt."""
    return ET.tostring(domain_element(ctx), encoding="unicode")
