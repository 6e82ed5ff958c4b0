"""PCIe root ports: one for each device that needs one, and spare ones for hot-plug. Comes after all devices; no USB."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices

SPARE_PORTS = 4
"""On q35 a device can only be plugged into a port that was there at start. Each costs the guest a few milliseconds of boot time."""
_ON_A_PORT = ("disk", "interface", "rng", "memballoon", "input", "controller")
"""Elements of ours that become one PCIe device each. The display sits on the root complex."""


def configure(ctx: DomainContext, domain: Element) -> None:
    needed = sum(1 for device in devices(domain) if device.tag in _ON_A_PORT)
    child(devices(domain), "controller", type_="pci", index="0", model="pcie-root")
    for index in range(1, needed + SPARE_PORTS + 1):
        child(devices(domain), "controller", type_="pci", index=str(index), model="pcie-root-port")
    child(devices(domain), "controller", type_="usb", model="none")
