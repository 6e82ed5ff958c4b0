"""IPv4 addresses and MACs of NICs."""

from collections.abc import Set
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from houyi.base.ids import Ids
from houyi.model.errors import Conflict, Invalid
from houyi.model.network import Network


def parse_network(cidr: str) -> IPv4Network:
    """:raise Invalid: `cidr_invalid`: not an IPv4 network of 4 to 2^16 addresses in canonical form."""
    try:
        network = IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Invalid("cidr_invalid", f"{cidr[:64]!r} is not an IPv4 network such as 10.80.0.0/24: {error}") from None
    if not 16 <= network.prefixlen <= 30:
        raise Invalid("cidr_invalid", f"{cidr} is too large or too small: use a prefix from /16 to /30")
    return network


def gateway_of(network: Network) -> IPv4Address | None:
    """The given gateway, else the first address; None where the platform manages no addresses."""
    if network.spec.gateway:
        return IPv4Address(network.spec.gateway)
    return IPv4Network(network.spec.cidr)[1] if network.spec.cidr else None


def check_address(address: str, network: Network) -> None:
    """:raise Invalid: `address_invalid`, `address_outside_network`, `address_reserved`, `address_unmanaged`."""
    try:
        wanted = IPv4Address(address)
    except AddressValueError:
        raise Invalid("address_invalid", f"{address[:64]!r} is not an IPv4 address") from None
    if not network.spec.cidr:
        raise Invalid("address_unmanaged", f"the platform manages no addresses on network {network.name!r}: it has no cidr")
    cidr = IPv4Network(network.spec.cidr)
    if wanted not in cidr:
        raise Invalid("address_outside_network", f"{address} is not in network {network.name!r} ({cidr})")
    if wanted in (cidr.network_address, cidr.broadcast_address, gateway_of(network)):
        raise Invalid("address_reserved", f"{address} is the network's, the broadcast or the gateway's address of {cidr}")


def free_address(network: Network, taken: Set[str], start_at: float = 0.0) -> str:
    """The first free address, searching from the fraction `start_at` (0..1) of the range; '' where the platform manages none.

    :raise Conflict: `network_full`.
    """
    if not network.spec.cidr:
        return ""
    cidr, gateway = IPv4Network(network.spec.cidr), gateway_of(network)
    usable = cidr.num_addresses - 2
    first = int(start_at * usable)
    for step in range(usable):
        candidate = cidr[1 + (first + step) % usable]
        if candidate != gateway and str(candidate) not in taken:
            return str(candidate)
    raise Conflict("network_full", f"no address is left on network {network.name!r} ({cidr}): delete a VM or use another network")


def new_mac(ids: Ids) -> str:
    """A random MAC in QEMU's range 52:54:00 (locally administered, unicast); uniqueness is the store's to keep."""
    digits = ids.new().replace("-", "")[:6]
    return f"52:54:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}"
