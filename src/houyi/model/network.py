"""A network that NICs attach to: a NAT network made by the agent (DHCP and DNS by dnsmasq), or a bridge that exists already."""

from dataclasses import dataclass
from enum import StrEnum

from houyi.model.ids import NetworkId, ProjectId


class NetworkKind(StrEnum):
    NAT = "nat"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """`cidr` is the IPv4 network of a NAT network ('10.80.0.0/24'; the gateway is its first address); on a BRIDGE it may be empty: the platform then manages no addresses there."""

    kind: NetworkKind
    cidr: str = ""
    bridge: str = ""
    """BRIDGE: the existing bridge's interface name. NAT: empty, the agent names it after the id."""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    domain: str = "houyi.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`project_id` None: shared by every project, as the built-in network `default` is."""

    id: NetworkId
    project_id: ProjectId | None
    name: str
    spec: NetworkSpec
    created_at: float
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One fixed lease: this MAC gets this address and this DNS name."""

    mac: str
    address: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredNetwork:
    """A network as a host must have it, with all reservations of the VMs on that host."""

    id: NetworkId
    name: str
    spec: NetworkSpec
    reservations: tuple[Reservation, ...] = ()
