"""The Machine port over libvirt: persistent domains that carry our mark. Others are neither reported nor touched."""

import contextlib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import libvirt

from houyi.base.clock import Clock
from houyi.host.disk.files import Files
from houyi.host.domxml import domain_xml
from houyi.host.domxml.context import NAMESPACE, DomainContext
from houyi.host.domxml.metadata import Mark, metadata_xml
from houyi.host.domxml.tuning.cpu import pinned_cpus
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.domains import PREFIX, Known, Memory, find, mark_of, not_running, read_known, state_of
from houyi.host.libvirt.events import Events
from houyi.host.port import DomainSeen, MachineEvent
from houyi.model.errors import Conflict
from houyi.model.host import Accelerator, NumaNode
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm, GuestAgent
from houyi.planning.tuning.pinning import choose_cpus

_FORGET = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
_CRASHED = libvirt.VIR_DOMAIN_CRASHED
AGENT_SECONDS = 2
"""How long libvirt waits for the guest agent's answer; libvirt's default is for ever."""


class LibvirtMachine:
    def __init__(
        self,
        connection: LibvirtConnection,
        events: Events,
        memory: Memory,
        files: Files,
        clock: Clock,
        accelerator: Callable[[], Accelerator],
        tcg_tb_size_mib: int,
        numa: tuple[NumaNode, ...] = (),
    ) -> None:
        self._connection, self._events, self._memory, self._files, self._clock = connection, events, memory, files, clock
        self._accelerator, self._tcg_tb_size_mib, self._numa = accelerator, tcg_tb_size_mib, numa

    async def observe(self) -> Mapping[VmId, DomainSeen]:
        """One call for all states; a call more for each domain whose XML may have changed since the last look."""
        listed = await self._connection.call(_list)
        unread = {vm_id: self._memory.version(vm_id) for vm_id, _, _ in listed if self._memory.known(vm_id) is None}
        read = await self._connection.call(lambda connection: {vm_id: _read(connection, vm_id) for vm_id in unread}) if unread else {}
        seen: dict[VmId, DomainSeen] = {}
        for vm_id, state, reason in listed:
            known = self._memory.known(vm_id) or read.get(vm_id)
            if known is None:
                continue
            if vm_id in unread:
                self._memory.learn(vm_id, known, unread[vm_id])
            seen[vm_id] = self._memory.seen(vm_id, known, state, reason)
        return seen

    async def start(self, vm: DesiredVm, *, paused: bool = False) -> None:
        paths = self._files.paths(vm.id)
        cpus = await self._connection.call(lambda connection: _cpus(connection, vm, self._numa)) if vm.tuning.get("pinning") == "pinned" else ()
        context = DomainContext(vm=vm, accelerator=self._accelerator(), tcg_tb_size_mib=self._tcg_tb_size_mib, paths=paths, numa=self._numa, cpus=cpus)
        xml, now = domain_xml(context), self._clock.now
        if await self._connection.call(lambda connection: _start(connection, vm, xml, now, paused=paused)):
            self._memory.started(vm.id)
            self._memory.forget(vm.id)

    async def shutdown(self, vm_id: VmId) -> None:
        self._memory.ask(vm_id, "end")
        if not await self._if_active(vm_id, lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)):
            self._memory.answered(vm_id)

    async def destroy(self, vm_id: VmId) -> None:
        self._memory.ask(vm_id, "end")
        if not await self._if_active(vm_id, lambda domain: domain.destroy()):
            self._memory.answered(vm_id)

    async def suspend(self, vm_id: VmId) -> None:
        await self._on_active(vm_id, lambda domain: None if _is_in(domain, libvirt.VIR_DOMAIN_PAUSED) else domain.suspend())

    async def resume(self, vm_id: VmId) -> None:
        await self._on_active(vm_id, lambda domain: None if _is_in(domain, libvirt.VIR_DOMAIN_RUNNING) else domain.resume())

    async def reboot(self, vm_id: VmId) -> None:
        known = self._memory.known(vm_id)
        through_agent = known is not None and known.guest_agent is GuestAgent.CONNECTED
        self._memory.ask(vm_id, "reboot")
        await self._on_active(vm_id, lambda domain: _reboot(domain, through_agent=through_agent))

    async def reset(self, vm_id: VmId) -> None:
        self._memory.ask(vm_id, "reboot")
        await self._on_active(vm_id, lambda domain: domain.reset())

    async def undefine(self, vm_id: VmId) -> None:
        self._memory.ask(vm_id, "end")
        await self._connection.call(lambda connection: _undefine(connection, vm_id))
        self._memory.gone(vm_id)

    def events(self) -> AsyncIterator[MachineEvent]:
        return self._events.stream()

    async def _if_active(self, vm_id: VmId, act: Callable[[Any], Any]) -> bool:
        """Whether there was an active domain of ours to do it to."""

        def run(connection: Any) -> bool:
            domain = _ours(connection, vm_id)
            if domain is None or not domain.isActive():
                return False
            try:
                act(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and not domain.isActive():
                    return False  # it ended between the look and the act
                raise
            return True

        return await self._connection.call(run)

    async def _on_active(self, vm_id: VmId, act: Callable[[Any], Any]) -> None:
        """:raise Conflict: `not_running`."""
        if not await self._if_active(vm_id, act):
            self._memory.answered(vm_id)
            raise not_running()


def _list(connection: Any) -> list[tuple[VmId, int, int]]:
    """(id, state, reason) of every domain with our kind of name. NOWAIT: a domain whose job is stuck must not hide the others."""
    rows = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return [(VmId(domain.UUIDString()), *state_of(stats)) for domain, stats in rows if domain.name().startswith(PREFIX)]


def _ours(connection: Any, vm_id: VmId) -> Any | None:
    """The domain, if there is one that carries our mark."""
    domain = find(connection, vm_id)
    return domain if domain is not None and mark_of(domain) is not None else None


def _read(connection: Any, vm_id: VmId) -> Known | None:
    try:
        domain = find(connection, vm_id)
        return read_known(domain) if domain is not None else None
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None  # undefined in between
        raise


def _cpus(connection: Any, vm: DesiredVm, numa: tuple[NumaNode, ...]) -> tuple[int, ...]:
    """A CPU for each vCPU of a VM that is to be pinned: of the nodes that it was fitted to, else of all, those that other guests are kept on the least."""
    nodes = [node for node in numa if node.number in vm.numa_nodes] or numa
    taken: Counter[int] = Counter()
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        with contextlib.suppress(libvirt.libvirtError):  # it ended in between, or is arriving
            if domain.UUIDString() != vm.id:
                taken.update(pinned_cpus(ET.fromstring(domain.XMLDesc())))  # noqa: S314 - from libvirtd
    return choose_cpus((cpu for node in nodes for cpu in node.cpus), taken, vm.spec.vcpus)


def _start(connection: Any, vm: DesiredVm, xml: str, now: Callable[[], float], *, paused: bool) -> bool:
    """Define and start; False: it runs already. What was defined here for a start that failed is taken back."""
    before = find(connection, vm.id)
    if before is not None:
        if mark_of(before) is None:
            raise Conflict("domain_foreign", f"a domain with the id of VM {vm.name} exists on this host and is not ours: remove it by hand")
        if before.isActive():
            if before.state()[0] != _CRASHED:
                return False
            before.destroy()  # a panicked guest that was kept to be seen
    domain = connection.defineXML(xml)
    try:
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
    except libvirt.libvirtError:
        if before is None:
            domain.undefineFlags(_FORGET)
        raise
    mark = replace(Mark(vm_id=vm.id, epoch=vm.epoch, generation=vm.generation), started_at=now())
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, metadata_xml(mark), "houyi", NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    return True


def _is_in(domain: Any, state: int) -> bool:
    """libvirt takes a repeated suspend or resume for a mistake."""
    return bool(domain.state()[0] == state)


def _reboot(domain: Any, *, through_agent: bool) -> None:
    """Through the guest agent where it answers, else by the power button: libvirt then resets the guest when it has shut down."""
    if through_agent:
        try:
            domain.agentSetResponseTimeout(AGENT_SECONDS)
            domain.reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
            return
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_AGENT_COMMAND_TIMEOUT}:
                raise
    domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)


def _undefine(connection: Any, vm_id: VmId) -> None:
    domain = _ours(connection, vm_id)
    if domain is None:
        return
    try:
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(_FORGET)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise  # what was arriving is gone with its process, or as soon as its source is
