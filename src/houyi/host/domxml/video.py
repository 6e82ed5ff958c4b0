"""Optional display: virtio-vga shown by VNC on a UNIX socket, with an absolute pointer, which is what a browser has."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices


def configure(ctx: DomainContext, domain: Element) -> None:
    """The socket's folder is what guards it; there is no password and no TCP port."""
    if not ctx.vm.spec.video:
        child(child(devices(domain), "video"), "model", type_="none")  # libvirt would add one beside the serial console
        return
    graphics = child(devices(domain), "graphics", type_="vnc", sharePolicy="force-shared")
    child(graphics, "listen", type_="socket", socket=str(ctx.paths.vnc_socket))
    child(child(devices(domain), "video"), "model", type_="virtio", heads="1", primary="yes")
    child(devices(domain), "input", type_="tablet", bus="virtio")
