"""What a configurator may know: the wish, this host's choices, and where the VM's files are. Plain values; nothing is looked up."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from houyi.model.errors import Invalid
from houyi.model.host import Accelerator, NumaNode
from houyi.model.ids import NetworkId
from houyi.model.image import DiskFormat
from houyi.model.vm import DesiredVm

NAMESPACE = "https://houyi.dev/domain/1"
"""Of our metadata in a domain. A domain without it is not ours and is never touched."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VmPaths:
    """Files and sockets of one VM; all absolute."""

    disk: Path
    base: Path
    """The cached image under the disk's overlay."""
    base_format: DiskFormat
    seed: Path
    nvram: Path
    console_log: Path
    serial_socket: Path
    vnc_socket: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainContext:
    """Everything that domain XML is made of."""

    vm: DesiredVm
    accelerator: Accelerator
    tcg_tb_size_mib: int
    paths: VmPaths
    machine: str = "q35"
    """QEMU machine type; libvirt pins 'q35' to the versioned one when it defines the domain."""
    numa: tuple[NumaNode, ...] = ()
    """This host's nodes."""
    cpus: tuple[int, ...] = ()
    """CPUs of this host that were chosen for its vCPUs, one each in their order; empty: none were."""

    @property
    def nodes(self) -> tuple[NumaNode, ...]:
        """Those that the VM was fitted to, as far as the host (still) has them; empty: it may use the whole host."""
        return tuple(node for node in self.numa if node.number in self.vm.numa_nodes)


Configure = Callable[[DomainContext, Element], None]
"""Adds its device to the <domain> element; pure."""


def domain_name(vm_id: str) -> str:
    """The libvirt name of a VM's domain: unique as the id is, while VM names are only unique in their project."""
    return f"houyi-{vm_id}"


def network_name(network_id: NetworkId) -> str:
    """The libvirt name of a network."""
    return f"houyi-{network_id[:8]}"


def text(value: str) -> str:
    """`value` if XML 1.0 can carry it. :raise Invalid: `text_invalid` for control characters and lone surrogates, which no escape could express."""
    if found := _NOT_XML.search(value):
        raise Invalid("text_invalid", f"the character U+{ord(found.group()):04X} cannot be part of a VM's definition: remove it")
    return value


def child(parent: Element, tag: str, content: str = "", /, **attributes: str) -> Element:
    """A new last child with text content and attributes (a trailing '_' of a name is dropped: `type_`)."""
    element = Element(tag, {name.rstrip("_"): text(value) for name, value in attributes.items()})
    element.text = text(content) or None
    parent.append(element)
    return element


def devices(domain: Element) -> Element:
    """The domain's <devices>, made when it is first asked for."""
    found = domain.find("devices")
    return child(domain, "devices") if found is None else found
