"""The serial console: a UNIX socket for viewers, and a bounded log that virtlogd rotates."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices


def configure(ctx: DomainContext, domain: Element) -> None:
    """QEMU listens; the log is written whether or not somebody looks, and goes on while libvirtd is away."""
    serial = child(devices(domain), "serial", type_="unix")
    child(serial, "source", mode="bind", path=str(ctx.paths.serial_socket))
    child(serial, "log", file=str(ctx.paths.console_log), append="on")
    child(child(serial, "target", type_="isa-serial", port="0"), "model", name="isa-serial")
