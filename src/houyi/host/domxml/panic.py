"""pvpanic: the guest kernel's way to say that it panicked. The ISA model, since guests of every age have its driver."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices


def configure(ctx: DomainContext, domain: Element) -> None:
    child(devices(domain), "panic", model="isa")
