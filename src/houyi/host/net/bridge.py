"""A network on a bridge that the administrator made: to libvirt a name for it, so that VMs' cards look the same everywhere."""

from pathlib import Path
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import child, network_name
from houyi.model.errors import Failed
from houyi.model.network import DesiredNetwork

SYSFS = Path("/sys/class/net")


def network_element(network: DesiredNetwork) -> Element:
    root = Element("network")
    child(root, "name", network_name(network.id))
    child(root, "uuid", network.id)
    child(root, "forward", mode="bridge")
    child(root, "bridge", name=network.spec.bridge)
    return root


def check(name: str, sysfs: Path = SYSFS) -> None:
    """:raise Failed: `bridge_missing`. Asked before each start, since libvirt finds out only when a VM is plugged in."""
    if not name or "/" in name or name.startswith(".") or not (sysfs / name / "bridge").is_dir():
        raise Failed(
            "bridge_missing", f"there is no bridge {name!r} on this host: make it (for example `ip link add {name or 'br0'} type bridge`), or use a NAT network"
        )
