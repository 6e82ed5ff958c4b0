"""The Guests port: what the guest agent says, through libvirt."""

import ipaddress
from collections.abc import Iterable
from typing import Any

import libvirt

from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.machine import AGENT_SECONDS
from houyi.model.ids import VmId

_SILENT = frozenset(
    {
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_AGENT_COMMAND_TIMEOUT,
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    }
)
"""No guest, no agent, or no answer: all of them mean 'it does not answer', none is an error of ours."""
_COMMAND_REFUSED = frozenset({libvirt.VIR_ERR_AGENT_COMMAND_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR})


class LibvirtGuests:
    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    async def ping(self, vm_id: VmId) -> bool:
        return await self._connection.call(lambda connection: _ping(connection, vm_id))

    async def addresses(self, vm_id: VmId) -> tuple[str, ...]:
        return await self._connection.call(lambda connection: _addresses(connection, vm_id))


def _ping(connection: Any, vm_id: VmId) -> bool:
    """Asks for the time: a plain guest-ping goes only through libvirt's pass-through, which marks the domain as tainted."""
    try:
        domain = connection.lookupByUUIDString(vm_id)
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        domain.getTime()
    except libvirt.libvirtError as error:
        if error.get_error_code() in _SILENT:
            return False
        if error.get_error_code() in _COMMAND_REFUSED:
            return True  # it answered that it will not tell
        raise
    return True


def _addresses(connection: Any, vm_id: VmId) -> tuple[str, ...]:
    try:
        domain = connection.lookupByUUIDString(vm_id)
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        cards = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _SILENT | _COMMAND_REFUSED:
            return ()
        raise
    return routable(entry["addr"] for card in cards.values() for entry in card["addrs"] or ())


def routable(said: Iterable[str]) -> tuple[str, ...]:
    """Addresses as a hostile guest may report them -> valid ones, normal form, no loopback, link-local, multicast or unspecified; at most 32, in order."""
    found: dict[str, None] = {}
    for text in said:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified):
            found[str(address)] = None
    return tuple(found)[:32]
