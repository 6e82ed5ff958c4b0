"""`houyi network`: what VMs' NICs attach to."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.output import Column, Row, show_list, show_object
from houyi.cli.quantities import show_age
from houyi.cli.session import OPTIONS, Options, connect, dig, everything, noun
from houyi.model.network import NetworkKind
from houyi.sdk.paths import path

app = noun("network", "Networks that VMs attach to: NAT networks, and bridges that exist on the hosts.")

Name = Annotated[str, Parameter(help="Name or id of the network.")]


def _shared(network: Row) -> str:
    return "no" if network.get("project_id") else "yes"


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda network: str(network["name"])),
        Column("KIND", lambda network: str(dig(network, "kind"))),
        Column("CIDR", lambda network: str(dig(network, "cidr") or "-")),
        Column("BRIDGE", lambda network: str(dig(network, "bridge") or "-")),
        Column("SHARED", _shared),
        Column("AGE", lambda network: show_age(network.get("created_at"), now), right=True),
    )


@app.command(name="list")
def list_networks(*, options: Options = OPTIONS) -> None:
    """List networks, one's own and shared ones."""
    with connect(options) as api:
        rows = everything(api, path("networks"))
    show_list(rows, columns(time.time()), options.output, empty="no networks: create one with `houyi network create NAME --cidr 10.81.0.0/24`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show everything about a network."""
    with connect(options) as api:
        network = api.request("GET", path("networks", name))
    facts = [
        ("name", str(network["name"])),
        ("id", str(network["id"])),
        ("kind", str(dig(network, "kind"))),
        ("cidr", str(dig(network, "cidr"))),
        ("gateway", str(dig(network, "gateway"))),
        ("bridge", str(dig(network, "bridge"))),
        ("dns", ", ".join(dig(network, "dns", []))),
        ("domain", str(dig(network, "domain"))),
        ("shared", _shared(network)),
        ("age", show_age(network.get("created_at"), time.time())),
    ]
    show_object(network, facts, options.output)


@app.command
def create(
    name: Annotated[str, Parameter(help="Name of the new network.")],
    /,
    *,
    cidr: Annotated[str, Parameter(help="Its IPv4 addresses, such as 10.81.0.0/24; needed for NAT.")] = "",
    bridge: Annotated[str, Parameter(help="Use this bridge, which exists on the hosts, instead of NAT.")] = "",
    gateway: Annotated[str, Parameter(help="On a bridge: the router's address.")] = "",
    dns: Annotated[tuple[str, ...], Parameter(negative=(), help="DNS server; may be given several times.")] = (),
    domain: Annotated[str, Parameter(help="DNS domain of its VMs.")] = "",
    shared: Annotated[bool, Parameter(negative=(), help="Let every project use it (administrators only).")] = False,
    options: Options = OPTIONS,
) -> None:
    """Create a NAT network, or make a host's bridge known as one."""
    kind = NetworkKind.BRIDGE if bridge else NetworkKind.NAT
    body: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "cidr": cidr,
        "bridge": bridge,
        "gateway": gateway,
        "dns": list(dns),
        "domain": domain,
        "shared": shared,
    }
    with connect(options) as api:
        network = api.request("POST", path("networks"), body={key: value for key, value in body.items() if value})
    told(network, f"network {name} is made: `houyi vm create ... --network {name}`", options)


@app.command
def delete(name: Name, /, *, yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False, options: Options = OPTIONS) -> None:
    """Delete a network that no VM is on."""
    sure(f"delete network {name!r}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("networks", name)), f"network {name} is deleted", options)
