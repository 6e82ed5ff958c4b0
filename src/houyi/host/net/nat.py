"""A NAT network: libvirt's bridge, dnsmasq (DHCP and DNS) and masquerading.

Reservations are files in a folder that dnsmasq watches (leases.py): libvirt's own way to change them takes all firewall rules of the network
down and up again each time, which costs a second on a busy machine and cuts every guest's connections meanwhile. Names are changed
through libvirt, which only has dnsmasq read everything again, the folder too.

DHCP serves reservations only, so a guest gets the address that the platform knows, or none. Names are DNS entries of their own and not
part of the DHCP reservation: two projects may have VMs of one name on a shared network, and a name answers before its guest has a lease.
"""

import ipaddress
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import child, network_name
from houyi.model.errors import Invalid
from houyi.model.network import DesiredNetwork, Reservation

ANCHOR_MAC = "02:00:00:00:00:01"
"""The only reservation that libvirt knows, of the gateway's own address for a card that no guest gets (ours begin with 52:54:00): with it
libvirt has dnsmasq serve DHCP at all, and only to who has a reservation."""
DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"


def bridge_name(network_id: str) -> str:
    """11 characters of the 15 that the kernel takes."""
    return f"hy-{network_id[:8]}"


def network_element(network: DesiredNetwork, leases_folder: Path) -> Element:
    """The <network>, whose dnsmasq takes reservations from `leases_folder`. :raise Invalid: `cidr_invalid`."""
    try:
        subnet = ipaddress.IPv4Network(network.spec.cidr)
        gateway = ipaddress.IPv4Address(network.spec.gateway) if network.spec.gateway else subnet[1]
    except (ValueError, IndexError) as error:
        raise Invalid("cidr_invalid", f"network {network.name}: {error}: give an IPv4 network such as 10.80.0.0/24") from error
    root = Element("network")
    child(root, "name", network_name(network.id))
    child(root, "uuid", network.id)
    child(root, "forward", mode="nat")
    child(root, "bridge", name=bridge_name(network.id), stp="off", delay="0")
    if network.spec.domain:
        child(root, "domain", name=network.spec.domain, localOnly="yes")
    dns = child(root, "dns")
    for server in network.spec.dns:
        child(dns, "forwarder", addr=server)
    dns.extend(_dns(name) for name in sorted(names(network.reservations)))
    ip = child(root, "ip", address=str(gateway), prefix=str(subnet.prefixlen))
    dhcp = child(ip, "dhcp")
    child(dhcp, "host", mac=ANCHOR_MAC, ip=str(gateway))
    options = child(root, f"{{{DNSMASQ}}}options")
    child(options, f"{{{DNSMASQ}}}option", value=f"dhcp-hostsdir={leases_folder}")
    return root


@dataclass(frozen=True, slots=True, order=True)
class Lease:
    mac: str
    address: str


@dataclass(frozen=True, slots=True, order=True)
class Name:
    name: str
    address: str


def leases(reservations: Iterable[Reservation]) -> frozenset[Lease]:
    return frozenset(Lease(reservation.mac.lower(), reservation.address) for reservation in reservations if reservation.address)


def names(reservations: Iterable[Reservation]) -> frozenset[Name]:
    """One address a name and one name an address: where several VMs share a name, the lowest address has it (libvirt refuses duplicates)."""
    first: dict[str, str] = {}
    taken: set[str] = set()
    for found in sorted(reservations, key=lambda one: (ipaddress.ip_address(one.address) if one.address else ipaddress.IPv4Address(0), one.mac)):
        if found.address and found.name and found.name not in first and found.address not in taken:
            first[found.name] = found.address
            taken.add(found.address)
    return frozenset(Name(name, address) for name, address in first.items())


def _dns(name: Name) -> Element:
    host = Element("host", {"ip": name.address})
    child(host, "hostname", name.name)
    return host


@dataclass(frozen=True, slots=True)
class Update:
    """One change of the names of a live network, in libvirt's terms."""

    add: bool
    xml: str


def updates(current: Element, reservations: Iterable[Reservation]) -> tuple[Update, ...]:
    """What makes the <network> `current` have exactly these names: removals first, so that addresses and names can change hands."""
    has = frozenset(Name(host.findtext("hostname", ""), host.get("ip", "")) for host in current.findall("dns/host"))
    want = names(reservations)
    return (
        *(Update(False, ET.tostring(_dns(name), encoding="unicode")) for name in sorted(has - want)),
        *(Update(True, ET.tostring(_dns(name), encoding="unicode")) for name in sorted(want - has)),
    )
