"""Moves between simulated machines: the port over `SimJob`. A machine that is joined to no network reaches no other."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path

from houyi.host.passages import CallsWitness, Channel
from houyi.host.port import MachineEvent
from houyi.host.sim.job import SimJob
from houyi.host.sim.net import SimNet
from houyi.host.sim.state import ON, SimDomain, SimState
from houyi.model.errors import Conflict, Failed, Unavailable
from houyi.model.ids import VmId
from houyi.model.migration import Figures, GuestSample, Knobs, Landing, Presence, Terms
from houyi.model.vm import DesiredVm, VmState


class SimMover:
    def __init__(self, sim: SimState, net: SimNet | None, jobs: dict[VmId, SimJob]) -> None:
        """:param jobs: the newest of each VM from here; they outlive the agent that asks."""
        self._sim, self._net, self._jobs = sim, net, jobs

    async def presences(self, vm_ids: Collection[VmId]) -> Mapping[VmId, Presence]:
        self._sim.enter("presences", "")
        return {vm_id: _presence(self._sim.domains.get(vm_id)) for vm_id in vm_ids}

    async def credentials(self, ca_pem: str, certificate_pem: str, key_pem: str) -> None:
        self._sim.enter("credentials", "", libvirt=False)
        self._sim.move_credentials = (ca_pem, certificate_pem, key_pem)

    async def landing_xml(self, vm: DesiredVm) -> str:
        self._sim.enter("landing_xml", vm.id, libvirt=False)
        if vm.id not in self._sim.disks or vm.id not in self._sim.seeds:
            raise Failed("disk_missing", f"VM {vm.name} has no disk or no seed on this host: create them first")
        return f"simulated domain {vm.id}"

    async def send(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        self._sim.enter("send", vm.id)
        return await self._attempt(vm, landing, libvirt_socket, terms, recovers=False)

    async def recover(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        self._sim.enter("recover", vm.id)
        return await self._attempt(vm, landing, libvirt_socket, terms, recovers=True)

    async def _attempt(self, vm: DesiredVm, landing: Landing, path: Path, terms: Terms, *, recovers: bool) -> Figures:
        if self._sim.running(vm.id) is None:
            raise Conflict("not_running", "the VM does not run on this host any more")
        if self._under_way(vm.id) is not None:
            raise Failed("migration_failed", "another job of this domain is under way")
        if self._net is None:
            raise Failed("migration_failed", "this machine is joined to no other")
        try:
            connection = self._net.connect(path)
        except Unavailable as error:
            raise Failed("migration_failed", error.detail) from error
        job = SimJob(self._net, self._sim, connection, vm, landing, terms)
        self._jobs[vm.id] = job
        self._sim.work(job.run(recovers=recovers))
        return await asyncio.shield(job.ended)

    async def figures(self, vm_id: VmId) -> Figures | None:
        self._sim.enter("figures", vm_id)
        job = self._under_way(vm_id)
        return job.figures if job is not None else None

    async def turn(self, vm_id: VmId, knobs: Knobs) -> None:
        self._sim.enter("turn", vm_id)
        if (job := self._under_way(vm_id)) is not None:
            job.turn(knobs)

    async def abort(self, vm_id: VmId) -> None:
        self._sim.enter("abort", vm_id)
        if (job := self._under_way(vm_id)) is not None:
            job.abort()

    def _under_way(self, vm_id: VmId) -> SimJob | None:
        job = self._jobs.get(vm_id)
        return job if job is not None and not job.ended.done() else None

    async def go(self, vm_id: VmId, *, run: bool) -> None:
        self._sim.enter("go", vm_id)
        domain = self._sim.running(vm_id)
        if domain is None or domain.transient:
            raise Conflict("not_arrived", "the guest has not arrived on this host")
        if domain.move is Presence.INCOMING:
            domain.move = None
            if run:
                domain.state = VmState.RUNNING
            self._sim.emit(MachineEvent(vm_id=vm_id, kind=""))

    async def sample(self, vm_id: VmId, seconds: float) -> GuestSample:
        self._sim.enter("sample", vm_id)
        domain = self._sim.running(vm_id)
        if domain is None:
            raise Conflict("not_running", "the VM is not running on this host")
        if self._under_way(vm_id) is not None:
            raise Conflict("vm_moving", "measuring how fast the guest writes would disturb its move")
        await self._sim.clock.sleep(seconds)
        return GuestSample(vm_id=vm_id, dirty_mib_s=domain.dirty_mib_s if domain.executes else 0.0, seconds=seconds)


def _presence(domain: SimDomain | None) -> Presence:
    if domain is None:
        return Presence.NONE
    if domain.state not in ON:
        return Presence.OFF
    if domain.move is Presence.INCOMING and not domain.transient:
        return Presence.ARRIVED
    return domain.move or Presence.LIVE


class SimPassages:
    """A simulated libvirt has no socket to lead to: simulated doors connect two of them by `SimNet`."""

    def __init__(self) -> None:
        self.severed: list[str] = []
        """Hosts to which streams were ended: for assertions."""

    async def open(self, vm_id: VmId, landing: Landing, terms: Terms) -> Channel:
        raise Unavailable("libvirt_away", "a simulated machine has no libvirt that could be called")

    def witness(self) -> CallsWitness:
        return _Blind()

    async def sever(self, address: str) -> None:
        """A simulated guest is never held up by the line."""
        self.severed.append(address)


class _Blind:
    """Nobody calls."""

    waits = several = gives_up = False
    left = True

    def asked(self, data: bytes) -> bytes:
        return b""

    def answered(self, data: bytes) -> bool:
        return False
