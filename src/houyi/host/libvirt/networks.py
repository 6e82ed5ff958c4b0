"""The Networks port over libvirt: persistent networks named houyi-*, brought up by ensure() and by nobody else.

A network's own settings are compared through a digest that we leave in its metadata, since libvirt rewrites XML; names are compared one by
one and changed live, reservations are files (host/net/leases.py): neither restarts the network or touches its firewall.
"""

import asyncio
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import libvirt

from houyi.host.domxml.context import NAMESPACE, network_name
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.net import bridge, leases, nat
from houyi.host.net.bridge import SYSFS
from houyi.model.errors import Conflict
from houyi.model.ids import NetworkId
from houyi.model.network import DesiredNetwork, NetworkKind

PREFIX = network_name(NetworkId(""))
_TAG = f"{{{NAMESPACE}}}network"


class LibvirtNetworks:
    """`folder` is for reservations; `sysfs` is where this host's network interfaces are listed."""

    def __init__(self, connection: LibvirtConnection, folder: Path, sysfs: Path = SYSFS) -> None:
        self._connection, self._folder, self._sysfs = connection, folder, sysfs
        self._lock = asyncio.Lock()
        """One change at a time: looking and updating a network is not atomic."""

    async def ensure(self, network: DesiredNetwork) -> None:
        if network.spec.kind is NetworkKind.BRIDGE:
            bridge.check(network.spec.bridge, self._sysfs)
        leases_folder = self._folder / network.id
        wanted = network_element(network, leases_folder)
        async with self._lock:
            if network.spec.kind is NetworkKind.NAT:
                leases.prepare(leases_folder)
                leases.write(leases_folder, nat.leases(network.reservations))
            await self._connection.call(lambda connection: _ensure(connection, network, wanted))

    async def remove(self, network_id: NetworkId) -> None:
        async with self._lock:
            await self._connection.call(lambda connection: _remove(connection, network_id))
            leases.remove(self._folder / network_id)

    async def seen(self) -> frozenset[NetworkId]:
        return await self._connection.call(
            lambda connection: frozenset(NetworkId(found.UUIDString()) for found in connection.listAllNetworks() if found.name().startswith(PREFIX))
        )


def network_element(network: DesiredNetwork, leases_folder: Path) -> Element:
    """The <network> with our mark. :raise Invalid: `cidr_invalid`."""

    def bare(which: DesiredNetwork) -> Element:
        if which.spec.kind is NetworkKind.NAT:
            return nat.network_element(which, leases_folder)
        return bridge.network_element(which)

    element = bare(network)
    digest = hashlib.sha256(ET.tostring(bare(replace(network, reservations=())))).hexdigest()
    metadata = Element("metadata")
    metadata.append(Element(_TAG, {"id": network.id, "digest": digest}))
    element.insert(2, metadata)
    return element


def _digest(network: Element) -> str:
    mark = network.find(f"metadata/{_TAG}")
    return "" if mark is None else mark.get("digest", "")


def _find(connection: Any, network_id: NetworkId) -> Any | None:
    """:raise Conflict: `network_foreign`, if somebody else's network has this id."""
    try:
        found = connection.networkLookupByUUIDString(network_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise
    if not found.name().startswith(PREFIX):
        raise Conflict("network_foreign", f"the libvirt network {found.name()} has the id of one of ours: remove it by hand")
    return found


def _parse(network: Any, flags: int = 0) -> Element:
    return ET.fromstring(network.XMLDesc(flags))  # noqa: S314 - from libvirtd, which is root's and parses it itself


def _ensure(connection: Any, network: DesiredNetwork, wanted: Element) -> None:
    found = _find(connection, network.id)
    text = ET.tostring(wanted, encoding="unicode")
    if found is not None and _digest(_parse(found, libvirt.VIR_NETWORK_XML_INACTIVE)) != _digest(wanted):
        if found.isActive() and not _used(found):
            found.destroy()
        connection.networkDefineXML(text)  # with guests on it, it takes effect when the last has left
    elif found is None or not found.isActive():
        # Defined whole, with its reservations: cheaper than one by one.
        connection.networkDefineXML(text)
    fresh = _find(connection, network.id)
    if fresh is None:
        raise Conflict("network_vanished", f"network {network.name} was removed by somebody else just now: it is made again")
    if not fresh.isActive():
        fresh.create()
        return
    if network.spec.kind is NetworkKind.NAT:
        _update(fresh, network)


def _update(live: Any, network: DesiredNetwork) -> None:
    """The running network and its definition: at once where both lack the same, each by its own difference where they differ (a crash in between)."""
    running = nat.updates(_parse(live), network.reservations)
    defined = nat.updates(_parse(live, libvirt.VIR_NETWORK_XML_INACTIVE), network.reservations)
    in_both = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
    if running == defined:
        _apply(live, running, in_both)
    else:
        _apply(live, running, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)
        _apply(live, defined, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG)


def _apply(live: Any, updates: Sequence[nat.Update], flags: int) -> None:
    for update in updates:
        command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if update.add else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
        live.update(command, libvirt.VIR_NETWORK_SECTION_DNS_HOST, -1, update.xml, flags)


def _used(network: Any) -> bool:
    """Whether guests are plugged in."""
    return any(True for _ in network.listAllPorts())


def _remove(connection: Any, network_id: NetworkId) -> None:
    found = _find(connection, network_id)
    if found is None:
        return
    if found.isActive():
        found.destroy()
    found.undefine()
