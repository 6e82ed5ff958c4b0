"""Network cards: virtio, on the libvirt network that the agent made for each of the platform's networks."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices, network_name


def configure(ctx: DomainContext, domain: Element) -> None:
    """NAT or bridge is the libvirt network's business, so a card looks the same on both."""
    for nic in ctx.vm.nics:
        interface = child(devices(domain), "interface", type_="network")
        child(interface, "mac", address=nic.mac)
        child(interface, "source", network=network_name(nic.network_id))
        child(interface, "model", type_="virtio")
