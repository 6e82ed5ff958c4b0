"""What we know of our domains between two looks, and what libvirt's states mean. No calls to libvirt beyond finding one domain and reading its XML.

A domain's mark, accelerator and guest-agent state are in its XML, which costs a call a domain; so they are kept until an event says that
they may have changed. States are read in bulk at every look and are never kept.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt

from houyi.host.domxml.agent import CHANNEL
from houyi.host.domxml.context import NAMESPACE, domain_name
from houyi.host.domxml.metadata import Mark, parse_mark
from houyi.host.domxml.tuning import tuned
from houyi.host.libvirt.cpus import running_features
from houyi.host.port import DomainSeen
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.vm import GuestAgent, StateReason, VmState

PREFIX = domain_name("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """From a domain's XML."""

    mark: Mark
    accelerator: str
    guest_agent: GuestAgent
    cpu_features: tuple[str, ...] = ()
    """Of the running guest."""
    tuned: Mapping[str, str] = field(default_factory=dict)
    """As above."""


def find(connection: Any, vm_id: VmId) -> Any | None:
    """Any domain with this id, whoever's."""
    try:
        return connection.lookupByUUIDString(vm_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_running(connection: Any, vm_id: VmId) -> Any:
    """Ours. :raise Conflict: `not_running`."""
    domain = find(connection, vm_id)
    if domain is None or mark_of(domain) is None or not domain.isActive():
        raise not_running()
    return domain


def not_running() -> Conflict:
    return Conflict("not_running", "the VM is not running on this host: start it first")


def mark_of(domain: Any) -> Mark | None:
    """Our mark on a virDomain, of the running one if it runs; None: it is not ours. Takes no lock: whole XML of a guest that is arriving is not given out
    for as long as that takes (libvirt waits 30 s for it, then fails)."""
    try:
        xml = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CURRENT)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise
    return parse_mark(xml, domain.UUIDString())


def read_known(domain: Any) -> Known | None:
    """None: the domain is not ours."""
    mark = mark_of(domain)
    if mark is None:
        return None
    if mark.arriving:
        return Known(mark=mark, accelerator="", guest_agent=GuestAgent.DISCONNECTED)
    xml = domain.XMLDesc()
    tree = ET.fromstring(xml)  # noqa: S314 - as below
    return replace(known_from(mark, xml), cpu_features=running_features(domain.connect(), tree), tuned=tuned(tree))


def known_from(mark: Mark, xml: str) -> Known:
    domain = ET.fromstring(xml)  # noqa: S314 - from libvirtd, which is root's and parses it itself
    targets = domain.findall("devices/channel/target")
    connected = any(target.get("name") == CHANNEL and target.get("state") == "connected" for target in targets)
    return Known(mark=mark, accelerator=domain.get("type", ""), guest_agent=GuestAgent.CONNECTED if connected else GuestAgent.DISCONNECTED)


_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: StateReason.IO_ERROR,
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: StateReason.WATCHDOG,
    libvirt.VIR_DOMAIN_PAUSED_USER: StateReason.REQUESTED,
}


def meaning(state: int, reason: int, *, asked: bool, ran: bool) -> tuple[VmState, StateReason]:
    """libvirt's (state, reason) as ours. `asked`: we ordered its end; `ran`: we saw it running before."""
    match state:
        case libvirt.VIR_DOMAIN_PAUSED if reason == libvirt.VIR_DOMAIN_PAUSED_CRASHED:
            return VmState.CRASHED, StateReason.GUEST_PANIC
        case libvirt.VIR_DOMAIN_PAUSED:
            return VmState.PAUSED, _PAUSED.get(reason, StateReason.NONE)
        case libvirt.VIR_DOMAIN_PMSUSPENDED:
            return VmState.PAUSED, StateReason.NONE
        case libvirt.VIR_DOMAIN_SHUTDOWN:
            return VmState.STOPPING, StateReason.REQUESTED if asked else StateReason.GUEST_SHUTDOWN
        case libvirt.VIR_DOMAIN_CRASHED:
            return VmState.CRASHED, StateReason.GUEST_PANIC
        case libvirt.VIR_DOMAIN_SHUTOFF:
            return _off(reason, asked=asked, ran=ran)
        case _:
            return VmState.RUNNING, StateReason.NONE


def _off(reason: int, *, asked: bool, ran: bool) -> tuple[VmState, StateReason]:
    if reason in {libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON}:
        return VmState.CRASHED, StateReason.QEMU_DIED
    if asked:
        return VmState.STOPPED, StateReason.REQUESTED
    if reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN:
        return VmState.STOPPED, StateReason.GUEST_SHUTDOWN
    if reason == libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED and ran:
        return VmState.STOPPED, StateReason.EXTERNAL
    return VmState.STOPPED, StateReason.NONE  # never started since libvirtd did, or its start failed: libvirt remembers no more


class Memory:
    """Everything kept in the process about our domains. Used from the event loop only."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[VmId, Known] = {}
        self._asked: dict[VmId, str] = {}
        """'end' or 'reboot': what we ordered, so that its event is not told as the guest's own doing."""
        self._ran: set[VmId] = set()
        self._first_seen: dict[VmId, float] = {}
        self._version: dict[VmId, int] = {}

    def clear(self) -> None:
        """After a new connection: events were missed."""
        self._known.clear()

    def version(self, vm_id: VmId) -> int:
        return self._version.get(vm_id, 0)

    def known(self, vm_id: VmId) -> Known | None:
        return self._known.get(vm_id)

    def learn(self, vm_id: VmId, known: Known, version: int) -> None:
        """Keep what was read, unless an event came while it was being read."""
        if self.version(vm_id) == version:
            self._known[vm_id] = known

    def forget(self, vm_id: VmId) -> None:
        """Its XML may have changed."""
        self._known.pop(vm_id, None)
        self._version[vm_id] = self.version(vm_id) + 1

    def set_agent(self, vm_id: VmId, state: GuestAgent) -> None:
        self._version[vm_id] = self.version(vm_id) + 1
        if known := self._known.get(vm_id):
            self._known[vm_id] = replace(known, guest_agent=state)

    def ask(self, vm_id: VmId, what: str) -> None:
        self._asked[vm_id] = what

    def asked(self, vm_id: VmId, what: str) -> bool:
        return self._asked.get(vm_id) == what

    def answered(self, vm_id: VmId) -> None:
        self._asked.pop(vm_id, None)

    def started(self, vm_id: VmId) -> None:
        self.answered(vm_id)
        self._first_seen.pop(vm_id, None)

    def gone(self, vm_id: VmId) -> None:
        """The domain is undefined."""
        self.forget(vm_id)
        self.started(vm_id)
        self._ran.discard(vm_id)

    def seen(self, vm_id: VmId, known: Known, state: int, reason: int) -> DomainSeen:
        ours, why = meaning(state, reason, asked=self.asked(vm_id, "end"), ran=vm_id in self._ran)
        active = state not in {libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_NOSTATE}
        started_at = 0.0
        if active:
            self._ran.add(vm_id)
            started_at = known.mark.started_at or self._first_seen.setdefault(vm_id, self._now())
        return DomainSeen(
            vm_id=vm_id,
            epoch=known.mark.epoch,
            state=ours,
            reason=why,
            accelerator=known.accelerator,
            guest_agent=known.guest_agent if active else GuestAgent.DISCONNECTED,
            started_at=started_at if ours is not VmState.CRASHED else 0.0,
            cpu_features=known.cpu_features if active else (),
            tuned=known.tuned if active else {},
        )


def state_of(stats: dict[str, Any]) -> tuple[int, int]:
    """(state, reason) out of one domain's bulk statistics."""
    return int(stats.get("state.state", libvirt.VIR_DOMAIN_NOSTATE)), int(stats.get("state.reason", 0))
