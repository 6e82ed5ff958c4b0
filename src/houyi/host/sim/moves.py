"""Moves on a simulated machine that is joined to no other: it tells what is here, and every attempt ends at once."""

from collections.abc import Collection, Mapping
from pathlib import Path

from houyi.host.domxml.context import domain_name
from houyi.host.port import CallsWitness, Channel
from houyi.host.sim.state import ON, SimState
from houyi.model.errors import Conflict, Failed, Unavailable
from houyi.model.ids import VmId
from houyi.model.migration import Figures, Knobs, Landing, Presence, Terms
from houyi.model.vm import DesiredVm


class SimMover:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def presences(self, vm_ids: Collection[VmId]) -> Mapping[VmId, Presence]:
        self._sim.enter("presences", "")
        return {vm_id: self._presence(vm_id) for vm_id in vm_ids}

    def _presence(self, vm_id: VmId) -> Presence:
        domain = self._sim.domains.get(vm_id)
        if domain is None:
            return Presence.NONE
        return Presence.LIVE if domain.state in ON else Presence.OFF

    async def credentials(self, ca_pem: str, certificate_pem: str, key_pem: str) -> None:
        self._sim.enter("credentials", "", libvirt=False)

    async def landing_xml(self, vm: DesiredVm) -> str:
        self._sim.enter("landing_xml", vm.id, libvirt=False)
        if vm.id not in self._sim.disks or vm.id not in self._sim.seeds:
            raise Failed("disk_missing", f"VM {vm.name} has no disk or no seed on this host: create them first")
        return f"<domain><name>{domain_name(vm.id)}</name></domain>"

    async def send(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        self._sim.enter("send", vm.id)
        raise Failed("migration_failed", "this machine is joined to no other")

    async def recover(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        self._sim.enter("recover", vm.id)
        raise Failed("migration_failed", "this machine is joined to no other")

    async def figures(self, vm_id: VmId) -> Figures | None:
        self._sim.enter("figures", vm_id)
        return None

    async def turn(self, vm_id: VmId, knobs: Knobs) -> None:
        self._sim.enter("turn", vm_id)

    async def abort(self, vm_id: VmId) -> None:
        self._sim.enter("abort", vm_id)

    async def go(self, vm_id: VmId, *, run: bool) -> None:
        self._sim.enter("go", vm_id)
        if self._sim.running(vm_id) is None:
            raise Conflict("not_arrived", "the guest has not arrived on this host")

    async def dirty_rate(self, vm_id: VmId, seconds: float) -> float:
        self._sim.enter("dirty_rate", vm_id)
        if self._sim.running(vm_id) is None:
            raise Conflict("not_running", "the VM is not running on this host")
        await self._sim.clock.sleep(seconds)
        return 0.0


class SimPassages:
    """A simulated libvirt has no socket to lead to."""

    async def open(self, vm_id: VmId, landing: Landing, terms: Terms) -> Channel:
        raise Unavailable("libvirt_away", "a simulated machine has no libvirt that could be called")

    def witness(self) -> CallsWitness:
        return _Blind()


class _Blind:
    waits = False

    def asked(self, data: bytes) -> bytes:
        return b""

    def answered(self, data: bytes) -> bool:
        return False
