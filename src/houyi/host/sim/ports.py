"""The ports of the simulated machine, over its state."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from houyi.host.passages import Channel
from houyi.host.port import DomainSeen, GuestRun, MachineEvent, Progress, ReadImage
from houyi.host.sim.state import ON, SimDomain, SimState, SimStorage, later
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import Conflict, Failed, Invalid, Unavailable
from houyi.model.host import HostFacts, HostLoad
from houyi.model.host_report import HostTraits
from houyi.model.ids import ImageId, NetworkId, VmId
from houyi.model.image import DesiredImage
from houyi.model.migration import Presence
from houyi.model.network import DesiredNetwork, NetworkKind
from houyi.model.vm import LOCAL, DesiredVm, GuestAgent, StateReason, VmState
from houyi.planning.tuning.knobs import BY_NAME


class SimMachine:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def observe(self) -> Mapping[VmId, DomainSeen]:
        sim = self._sim
        sim.enter("observe", "")
        return {
            vm_id: DomainSeen(
                vm_id=vm_id,
                epoch=domain.vm.epoch,
                state=domain.state,
                reason=domain.reason,
                accelerator=str(sim.facts.accelerator.accelerator),
                guest_agent=GuestAgent.CONNECTED if sim.answers(vm_id) else GuestAgent.DISCONNECTED,
                started_at=domain.started_at,
                cpu_features=domain.cpu_features if domain.state in ON else (),
                tuned=dict(domain.tuned) if domain.state in ON else {},
            )
            for vm_id, domain in sim.domains.items()
        }

    async def start(self, vm: DesiredVm, *, paused: bool = False) -> None:
        sim = self._sim
        sim.enter("start", vm.id)
        if sim.running(vm.id):
            return
        if vm.id not in sim.disks or vm.id not in sim.seeds:
            raise Failed("disk_missing", f"VM {vm.name} has no disk or no seed on this host: create them first")
        if missing := [nic.network_id for nic in vm.nics if nic.network_id not in sim.nets]:
            raise Failed("network_missing", f"network {missing[0]} is not on this host: it is made before the VM is started")
        features = started_with(vm, sim.facts)
        sim.destroy(vm.id)
        domain = sim.domains.setdefault(vm.id, SimDomain(vm))
        domain.vm = vm
        domain.cpu_features = features
        domain.tuned = {name: value for name, value in vm.tuning.items() if name in BY_NAME and value != BY_NAME[name].default}
        domain.run += 1
        sim.contents[vm.id] = sim.contents.get(vm.id, b"") + b"."
        domain.state, domain.reason = (VmState.PAUSED if paused else VmState.RUNNING), StateReason.REQUESTED
        domain.started_at = sim.clock.now()
        domain.booted_at = domain.started_at + sim.boot_seconds
        domain.say(b"booting\r\n")
        sim.emit(MachineEvent(vm_id=vm.id, kind=""))
        later(sim, sim.boot_seconds, lambda: sim.emit(MachineEvent(vm_id=vm.id, kind="")))

    async def shutdown(self, vm_id: VmId) -> None:
        sim = self._sim
        sim.enter("shutdown", vm_id)
        domain = sim.running(vm_id)
        if domain is None or domain.state is VmState.PAUSED or vm_id in sim.deaf:
            return  # a paused guest does not see the button
        run = domain.run

        def off() -> None:
            if domain.run == run and domain.state is VmState.RUNNING:
                sim.orderly_off(vm_id)

        later(sim, sim.shutdown_seconds, off)

    async def destroy(self, vm_id: VmId) -> None:
        self._sim.enter("destroy", vm_id)
        self._sim.destroy(vm_id)

    async def suspend(self, vm_id: VmId) -> None:
        self._sim.enter("suspend", vm_id)
        self._move(vm_id, VmState.RUNNING, VmState.PAUSED)

    async def resume(self, vm_id: VmId) -> None:
        self._sim.enter("resume", vm_id)
        domain = self._running(vm_id)
        if domain.move not in (None, Presence.HALTED):
            raise Failed("libvirt_failed", "the domain is being moved")
        domain.move = None
        self._move(vm_id, VmState.PAUSED, VmState.RUNNING)

    def _move(self, vm_id: VmId, old: VmState, new: VmState) -> None:
        domain = self._running(vm_id)
        if domain.state is old:
            domain.state, domain.reason = new, StateReason.REQUESTED
            self._sim.emit(MachineEvent(vm_id=vm_id, kind=""))

    async def reboot(self, vm_id: VmId) -> None:
        self._sim.enter("reboot", vm_id)
        self._running(vm_id)
        if vm_id not in self._sim.deaf:
            self._sim.boot_again(vm_id, "")

    async def reset(self, vm_id: VmId) -> None:
        self._sim.enter("reset", vm_id)
        self._running(vm_id)
        self._sim.boot_again(vm_id, "")

    def _running(self, vm_id: VmId) -> SimDomain:
        if (domain := self._sim.running(vm_id)) is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        return domain

    async def undefine(self, vm_id: VmId) -> None:
        self._sim.enter("undefine", vm_id)
        self._sim.destroy(vm_id)
        if self._sim.domains.pop(vm_id, None):
            self._sim.emit(MachineEvent(vm_id=vm_id, kind=""))

    async def events(self) -> AsyncIterator[MachineEvent]:
        while True:
            yield await self._sim.next_event()


def started_with(vm: DesiredVm, facts: HostFacts) -> tuple[str, ...]:
    """The features that a guest gets: its pool's or all, and what it asks for. :raise Failed: the machine lacks some."""
    of_pool = facts.cpu_features if vm.cpu is None else vm.cpu.required
    wanted = tuple(sorted({*of_pool, *vm.spec.cpu_features}))
    if facts.cpu_features and (lacking := sorted(set(wanted) - set(facts.cpu_features))):
        raise Failed("libvirt_failed", f"the CPU is incompatible with host CPU: Host CPU does not provide required features: {', '.join(lacking)}")
    return wanted if facts.cpu_features else ()


class SimGuests:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def ping(self, vm_id: VmId) -> bool:
        self._sim.enter("ping", vm_id)
        return self._sim.answers(vm_id)

    async def addresses(self, vm_id: VmId) -> tuple[str, ...]:
        self._sim.enter("addresses", vm_id)
        return tuple(nic.address for nic in self._sim.domains[vm_id].vm.nics if nic.address) if self._sim.answers(vm_id) else ()

    async def run(self, vm_id: VmId, argv: Sequence[str], seconds: float) -> GuestRun:
        sim = self._sim
        sim.enter("run", vm_id)
        if not sim.answers(vm_id):
            raise Unavailable("guest_agent_away", "the guest's agent does not answer: is qemu-guest-agent installed and running in the guest?")
        run = sim.domains[vm_id].run
        takes, ran = sim.program(vm_id, argv)
        await sim.clock.sleep(min(takes, seconds))
        if sim.domains[vm_id].run != run or not sim.answers(vm_id):
            raise Unavailable("guest_agent_away", "the guest ended meanwhile")
        if takes > seconds:
            raise Failed("guest_run_long", f"{argv[0]} ran for more than {seconds:.0f} s in the guest and was killed: allow it more, or give it less to do")
        return ran


class SimDisks:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def fetch_image(self, image: DesiredImage, read: ReadImage, progress: Progress) -> None:
        sim = self._sim
        sim.enter("fetch_image", image.id, libvirt=False)
        if image.id in sim.cache:
            progress(1.0)
            return
        part = sim.parts.setdefault(image.id, bytearray())
        await sim.clock.sleep(sim.fetch_seconds)
        while len(part) < image.size_bytes and (data := await read(len(part), min(1 << 20, image.size_bytes - len(part)))):
            self._space(image.id)
            part += data
            progress(len(part) / image.size_bytes)
        del sim.parts[image.id]
        if len(part) != image.size_bytes or hashlib.sha256(part).hexdigest() != image.sha256:
            raise Failed("image_differs", f"image {image.id} arrived with another digest or size: import it again")
        sim.cache[image.id] = image

    def _space(self, image_id: ImageId) -> None:
        if self._sim.disk_full:
            self._sim.parts.pop(image_id, None)
            raise Failed("disk_full", f"the disk under {self._sim.files} is full: free space or move VMs away")

    async def images(self) -> frozenset[ImageId]:
        return frozenset(self._sim.cache)

    async def remove_image(self, image_id: ImageId) -> None:
        self._sim.enter("remove_image", image_id, libvirt=False)
        self._sim.cache.pop(image_id, None)
        self._sim.parts.pop(image_id, None)

    async def create_disk(self, vm: DesiredVm, image: DesiredImage) -> None:
        sim = self._sim
        sim.enter("create_disk", vm.id, libvirt=False)
        if vm.id in sim.disks:
            return
        if image.id not in sim.cache:
            raise Unavailable("image_missing", f"image {image.id} is not in this host's cache: fetch it first")
        if vm.spec.disk_gib << 30 < image.virtual_size_bytes:
            raise Invalid("disk_too_small", f"the image needs {-(-image.virtual_size_bytes >> 30)} GiB: ask for a larger disk than {vm.spec.disk_gib} GiB")
        self._space(image.id)
        if (storage := self._storage(vm)) is not None:
            storage.disks.setdefault(vm.id, vm.spec.disk_gib)
            sim.on[vm.id] = storage
        sim.disks[vm.id] = vm.spec.disk_gib
        sim.contents[vm.id] = b""

    def _storage(self, vm: DesiredVm) -> SimStorage | None:
        if vm.spec.storage == LOCAL:
            return None
        if vm.spec.storage not in self._sim.shared:
            raise Failed("storage_unknown", f"this host has no shared folder {vm.spec.storage!r}: name it in agent.shared_dirs")
        return self._sim.shared[vm.spec.storage]

    async def adopt_disk(self, vm: DesiredVm) -> bool:
        self._sim.enter("adopt_disk", vm.id, libvirt=False)
        storage = self._storage(vm)
        if storage is None or vm.id not in storage.disks:
            return False
        self._sim.on[vm.id] = storage
        self._sim.disks[vm.id] = vm.spec.disk_gib
        return True

    async def write_seed(self, vm: DesiredVm, networks: tuple[DesiredNetwork, ...]) -> None:
        self._sim.enter("write_seed", vm.id, libvirt=False)
        self._sim.seeds[vm.id] = vm

    async def vms(self) -> frozenset[VmId]:
        return frozenset(self._sim.disks) | frozenset(self._sim.seeds)

    async def remove_vm(self, vm_id: VmId) -> None:
        self._sim.enter("remove_vm", vm_id, libvirt=False)
        if vm_id in self._sim.on:
            self._sim.on[vm_id].disks.pop(vm_id, None)
        self._leave(vm_id)

    async def leave_vm(self, vm_id: VmId) -> None:
        self._sim.enter("leave_vm", vm_id, libvirt=False)
        self._leave(vm_id)

    def _leave(self, vm_id: VmId) -> None:
        self._sim.on.pop(vm_id, None)
        for files in (self._sim.disks, self._sim.contents):
            files.pop(vm_id, None)
        for key in [key for key in self._sim.carried if key[0] == vm_id]:
            del self._sim.carried[key]
        self._sim.seeds.pop(vm_id, None)
        self._sim.written.pop(vm_id, None)


class SimNetworks:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def ensure(self, network: DesiredNetwork) -> None:
        self._sim.enter("ensure", network.id)
        if network.spec.kind is NetworkKind.BRIDGE and network.spec.bridge not in self._sim.bridges:
            raise Failed("bridge_missing", f"there is no bridge {network.spec.bridge!r} on this host: make it, or use a NAT network")
        self._sim.nets[network.id] = network

    async def remove(self, network_id: NetworkId) -> None:
        self._sim.enter("remove", network_id)
        self._sim.nets.pop(network_id, None)

    async def seen(self) -> frozenset[NetworkId]:
        self._sim.enter("seen", "")
        return frozenset(self._sim.nets)


class SimConsoles:
    """The guest's console echoes what is typed."""

    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def serial(self, vm_id: VmId) -> Channel:
        self._sim.enter("serial", vm_id, libvirt=False)
        return self._open(vm_id)

    async def vnc(self, vm_id: VmId) -> Channel:
        self._sim.enter("vnc", vm_id, libvirt=False)
        domain = self._sim.running(vm_id)
        if domain and not domain.vm.spec.video:
            raise Conflict("no_video", "this VM has no display: set video and start it again")
        channel = self._open(vm_id)
        self._sim.domains[vm_id].viewers[-1].put_nowait(b"RFB 003.008\n")
        return channel

    def _open(self, vm_id: VmId) -> Channel:
        domain = self._sim.running(vm_id)
        if domain is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        viewer: asyncio.Queue[bytes] = asyncio.Queue()
        domain.viewers.append(viewer)

        async def write(data: bytes) -> None:
            domain.say(data)

        async def close() -> None:
            if viewer in domain.viewers:
                domain.viewers.remove(viewer)
                viewer.put_nowait(b"")

        return Channel(read=viewer.get, write=write, close=close)

    async def log(self, vm_id: VmId) -> bytes:
        domain = self._sim.domains.get(vm_id)
        return bytes(domain.log) if domain else b""


class SimProbe:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def facts(self) -> HostFacts:
        return self._sim.facts

    async def load(self) -> HostLoad:
        sim, facts = self._sim, self._sim.facts
        on = [domain.vm.spec for domain in sim.domains.values() if domain.state in ON]
        return HostLoad(
            vms_running=len(on),
            memory_free_mib=facts.memory_mib - sum(spec.memory_mib for spec in on),
            disk_free_gib=0 if sim.disk_full else facts.disk_gib - sum(sim.disks.values()),
            load1=float(sum(spec.vcpus for spec in on)),
            stalled={"cpu_some": min(1.0, sum(spec.vcpus for spec in on) / (2 * facts.cpus)), "memory_some": 0.0, "io_some": 0.0},
            libvirt_connected=sim.connected,
        )

    async def traits(self) -> HostTraits:
        return self._sim.traits or HostTraits(accelerator=self._sim.facts.accelerator)

    async def baseline(self, cpus: Sequence[GuestCpu]) -> CpuBaseline:
        """A simulated CPU is the features that it requires; its model and its maker have none of their own."""
        self._sim.enter("baseline", "")
        if len({cpu.vendor for cpu in cpus}) > 1:
            raise Failed("libvirt_failed", "operation failed: CPU vendors do not match")
        common = tuple(sorted(set.intersection(*(set(cpu.required) for cpu in cpus)).intersection(self._sim.facts.cpu_features)))
        return CpuBaseline(cpu=replace(cpus[0], required=common, disabled=()), features=common)
