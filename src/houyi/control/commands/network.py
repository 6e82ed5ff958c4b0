"""What may be asked of networks."""

import re
from ipaddress import AddressValueError, IPv4Address

from houyi.control.addresses import parse_network
from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Conflict, Forbidden, Invalid
from houyi.model.ids import NetworkId
from houyi.model.names import check_name
from houyi.model.network import Network, NetworkKind, NetworkSpec
from houyi.model.token import Role
from houyi.store.rows.network import delete_network as delete_network_row
from houyi.store.rows.network import expect_network_fits, insert_network
from houyi.store.views.network import get_network

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


async def create_network(control: Control, ctx: Context, name: str, spec: NetworkSpec, *, shared: bool = False) -> Network:
    """:param shared: visible to every project (administrators only).

    :raise Invalid: `cidr_invalid`, `bridge_invalid`, `gateway_invalid`, `dns_invalid`. :raise Conflict: `name_taken`, `cidr_overlaps`.
    :raise Forbidden: `bridge_needs_admin`, `shared_needs_admin`.
    """
    check_name(name)
    if ctx.role is not Role.ADMIN and (shared or spec.kind is NetworkKind.BRIDGE):
        raise Forbidden("network_needs_admin", "only administrators may make shared networks or use a host's bridge")
    _check(spec)
    network = Network(
        id=NetworkId(control.ids.new()),
        project_id=None if shared else ctx.project_id,
        name=name,
        spec=spec,
        created_at=control.clock.now(),
        revision=control.store.revision,
    )
    await control.store.apply(
        [
            insert_network(network),
            new_event(control, ctx, "network.create", network.id, name, "created", project_id=network.project_id),
            *remembered(control, ctx, network),
        ],
        [expect_network_fits(network)],
    )
    return await control.store.read(lambda c: get_network(c, network.id, None))


async def delete_network(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """:raise Conflict: `network_in_use`: a VM has a NIC on it. :raise Forbidden: `not_yours`: a shared network."""
    network = await control.store.read(lambda c: get_network(c, reference, ctx.scope))
    if ctx.scope is not None and network.project_id != ctx.project_id:
        raise Forbidden("not_yours", f"network {network.name!r} is shared: only administrators may delete it")
    event = new_event(control, ctx, "network.delete", network.id, network.name, "deleted", project_id=network.project_id)
    try:
        await control.store.apply([delete_network_row(network), event], as_expected(lambda c: get_network(c, network.id, None), expected))
    except Conflict as used:
        if used.code != "in_use":
            raise
        raise Conflict("network_in_use", f"VMs have NICs on network {network.name!r}: delete them first") from None


def _check(spec: NetworkSpec) -> None:
    if spec.kind is NetworkKind.BRIDGE and not _INTERFACE.fullmatch(spec.bridge):
        raise Invalid("bridge_invalid", "a bridge network needs the name of a bridge that exists on the host (1 to 15 characters)")
    if spec.kind is NetworkKind.NAT and spec.bridge:
        raise Invalid("bridge_invalid", "a NAT network makes its own bridge: leave `bridge` empty")
    if spec.kind is NetworkKind.NAT and not spec.cidr:
        raise Invalid("cidr_invalid", "a NAT network needs a cidr such as 10.80.0.0/24")
    if not _DOMAIN.fullmatch(spec.domain):
        raise Invalid("domain_invalid", f"{spec.domain[:64]!r} is not a DNS domain")
    cidr = parse_network(spec.cidr) if spec.cidr else None
    if spec.gateway and (cidr is None or _address(spec.gateway, "gateway_invalid") not in cidr):
        raise Invalid("gateway_invalid", "the gateway must be an IPv4 address inside the cidr")
    for server in spec.dns:
        _address(server, "dns_invalid")


def _address(text: str, code: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise Invalid(code, f"{text[:64]!r} is not an IPv4 address") from None
