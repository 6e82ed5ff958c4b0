"""Networks as JSON."""

from collections.abc import Mapping

from pydantic import Field

from houyi.model.network import Network as ModelNetwork
from houyi.model.network import NetworkKind
from houyi.wire.v1.shape import Asked, Bool, Id, Page, Revision, Shown, Text, Time, rfc3339


class NetworkCreate(Asked):
    name: Text = Field(description="RFC 1123 label, unique in the project.")
    kind: NetworkKind = NetworkKind.NAT
    cidr: Text = Field("", description="IPv4 network such as 10.81.0.0/24; needed for NAT, empty on a bridge whose addresses the platform does not manage.")
    bridge: Text = Field("", description="The bridge's interface name on the hosts; kind 'bridge' only.")
    gateway: Text = Field("", description="Empty: the first address of the cidr.")
    dns: list[Text] = Field([], max_length=16)
    domain: Text = Field("houyi.internal", description="DNS domain of its VMs.")
    shared: Bool = Field(False, description="Let every project use it (administrators only).")


class Network(Shown):
    id: Id
    name: str
    project_id: Id | None = Field(description="Null: shared by all projects.")
    project_name: str | None
    kind: NetworkKind
    cidr: str
    bridge: str
    gateway: str
    dns: list[str]
    domain: str
    created_at: Time
    revision: Revision


class NetworkPage(Page[Network]):
    """A page of networks."""


def show_network(network: ModelNetwork, names: Mapping[str, str]) -> Network:
    """:param names: id to name of its project."""
    spec = network.spec
    return Network(
        id=network.id,
        name=network.name,
        project_id=network.project_id,
        project_name=names.get(network.project_id, "") if network.project_id else None,
        kind=spec.kind,
        cidr=spec.cidr,
        bridge=spec.bridge,
        gateway=spec.gateway,
        dns=list(spec.dns),
        domain=spec.domain,
        created_at=rfc3339(network.created_at),
        revision=network.revision,
    )
