"""The channel of the guest agent."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices

CHANNEL = "org.qemu.guest_agent.0"


def configure(ctx: DomainContext, domain: Element) -> None:
    """libvirt makes the socket and is its only client."""
    child(devices(domain), "controller", type_="virtio-serial", index="0")
    channel = child(devices(domain), "channel", type_="unix")
    child(channel, "target", type_="virtio", name=CHANNEL)
