"""The two machines that the contract suite runs on, each with the hands that a test needs: make a guest do something, wait, lose libvirt."""

import asyncio
import contextlib
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeVar

from houyi.base.clock import SystemClock
from houyi.host.libvirt.facts import LibvirtFacts
from houyi.host.port import MachineEvent, Ports
from houyi.host.real import open_ports
from houyi.host.sim import SimHost, SimStorage, sim_facts
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import HouyiError
from houyi.model.host import Accelerator, HostFacts, HostLoad
from houyi.model.ids import ImageId, NetworkId, ProjectId, VmId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec
from houyi.model.vm import DesiredNic, DesiredVm, Power, VmSpec
from real.boot_sector import GREETING, OFF, PANIC, REBOOT, disk
from real.hosts import PrivateHost, private_host

CONTENT = disk()
IMAGE = DesiredImage(
    id=ImageId("00000000-0000-4000-8000-0000000000aa"),
    format=DiskFormat.RAW,
    size_bytes=len(CONTENT),
    virtual_size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
NETWORK = DesiredNetwork(
    id=NetworkId("00000010-0000-4000-8000-000000000001"), name="default", spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24", domain="houyi.internal")
)
PROJECT = ProjectId("00000000-0000-4000-8000-0000000000ff")
SHARED = "fast"
"""A shared folder of every host."""
WAIT_SECONDS = 120.0
_serial = count(1)
T = TypeVar("T")


def new_vm(**spec: object) -> DesiredVm:
    """A small VM with a fresh id; `spec` replaces fields of its VmSpec."""
    number = next(_serial)
    wanted = VmSpec(image_id=IMAGE.id, vcpus=1, memory_mib=64, disk_gib=1, video=False)
    return DesiredVm(
        id=VmId(f"{number:08x}-0000-4000-8000-{time.monotonic_ns() & 0xFFFFFFFFFFFF:012x}"),
        project_id=PROJECT,
        name=f"vm-{number}",
        epoch=1,
        generation=1,
        spec=replace(wanted, **spec),  # type: ignore[arg-type]
        power=Power.RUNNING,
    )


def with_nic(vm: DesiredVm, network: DesiredNetwork = NETWORK, address: str = "10.80.0.9") -> DesiredVm:
    return replace(vm, nics=(DesiredNic(network_id=network.id, mac="52:54:00:00:00:09", address=address),))


async def read_content(offset: int, length: int) -> bytes:
    return CONTENT[offset : offset + length]


class Host(ABC):
    """What a contract test has in its hands."""

    ports: Ports
    real: bool

    async def have_disk(self, vm: DesiredVm, image: DesiredImage = IMAGE, content: bytes = CONTENT) -> DesiredVm:
        """Everything that start() needs."""

        async def read(offset: int, length: int) -> bytes:
            return content[offset : offset + length]

        await self.ports.disks.fetch_image(image, read, lambda _: None)
        await self.ports.disks.create_disk(vm, image)
        await self.ports.disks.write_seed(vm, ())
        return vm

    async def booted(self, vm: DesiredVm) -> DesiredVm:
        """Started, and its guest is up: it can be asked to end."""
        await self.have_disk(vm)
        await self.ports.machine.start(vm)
        await self.until_up(vm.id)
        return vm

    async def until(self, ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool] = bool) -> T:
        """Wait until it holds; what it was then."""
        end = time.monotonic() + WAIT_SECONDS
        while not holds(found := await ask()):
            if time.monotonic() > end:
                raise AssertionError(f"did not come true within {WAIT_SECONDS:g} s; last: {found}")
            await self.pause()
        return found

    async def event(self, events: AsyncIterator[MachineEvent], vm_id: VmId | None, kind: str) -> MachineEvent:
        """The next event of that kind; others may come before it."""

        async def find() -> MachineEvent:
            async for event in events:
                if event.vm_id == vm_id and event.kind == kind:
                    return event
            raise AssertionError("the events ended")

        task = asyncio.create_task(find())
        end = time.monotonic() + WAIT_SECONDS
        while not task.done() and time.monotonic() < end:
            await self.pause()
        if not task.done():
            task.cancel()
            raise AssertionError(f"no event {kind!r} of {vm_id} within {WAIT_SECONDS:g} s")
        return task.result()

    @abstractmethod
    async def pause(self) -> None:
        """Let a little time go by."""

    @abstractmethod
    async def until_up(self, vm_id: VmId) -> None: ...

    @abstractmethod
    async def guest(self, vm_id: VmId, act: str) -> None:
        """The guest does 'off', 'reboot' or 'panic' by itself, or its QEMU is killed ('die'), or memory that it uses fails ('hurt')."""

    @abstractmethod
    async def lose_libvirt(self) -> None: ...

    @abstractmethod
    async def restore_libvirt(self) -> None: ...

    @abstractmethod
    def make_bridge(self, name: str) -> None: ...

    @abstractmethod
    async def reopen(self) -> None:
        """The agent restarts: ports anew."""


@dataclass
class TickingClock:
    """Moves by hand; sleepers wake in order."""

    time: float = 1_700_000_000.0
    waiting: list[tuple[float, "asyncio.Future[None]"]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((self.time + seconds, future))
            await future

    def forward(self, seconds: float) -> None:
        self.time += seconds
        due = [(at, future) for at, future in self.waiting if at <= self.time]
        self.waiting = [entry for entry in self.waiting if entry not in due]
        for _, future in due:
            if not future.done():
                future.set_result(None)


class SimulatedHost(Host):
    real = False

    def __init__(self, clock: TickingClock | None = None) -> None:
        self.clock = clock or TickingClock()
        self.sim = SimHost(self.clock)
        self.sim.facts = sim_facts(features=("aes", "avx", "sse2", "ssse3"))
        self.sim.share(SHARED, SimStorage("00000000-0000-4000-8000-0000000000ee"))
        self.ports = self.sim.ports()

    async def pause(self) -> None:
        await asyncio.sleep(0)
        self.clock.forward(0.1)
        await asyncio.sleep(0)

    async def until_up(self, vm_id: VmId) -> None:
        await self.until(lambda: self.ports.guests.ping(vm_id))

    async def guest(self, vm_id: VmId, act: str) -> None:
        {
            "off": self.sim.guest_shutdown,
            "reboot": self.sim.guest_reboot,
            "panic": self.sim.guest_panic,
            "die": self.sim.kill_qemu,
            "hurt": self._hurt,
        }[act](vm_id)

    def _hurt(self, vm_id: VmId) -> None:
        self.sim.emit(MachineEvent(vm_id=vm_id, kind="memory_failure", detail="memory of the guest failed: the guest was told"))

    async def lose_libvirt(self) -> None:
        self.sim.lose_libvirt()

    async def restore_libvirt(self) -> None:
        self.sim.restore_libvirt()

    def make_bridge(self, name: str) -> None:
        self.sim.bridges.add(name)

    async def reopen(self) -> None:
        self.ports = self.sim.ports()


MACHINE_CHECK = "mce 0 9 0xbd000000000000c0 0x5 0x12345000 0x8c"
"""Bank 9 of CPU 0: valid, uncorrected, to be acted on; an address and what it is."""


class BareProbe:
    """The probe is another room; here only what the ports need."""

    def __init__(self, facts: LibvirtFacts) -> None:
        self._facts = facts

    async def facts(self) -> HostFacts:
        told = await self._facts.capabilities(Accelerator.QEMU)
        return replace(sim_facts(), guest_cpu=told.guest_cpu, cpu_features=told.cpu_features)

    async def baseline(self, cpus: Sequence[GuestCpu]) -> CpuBaseline:
        return await self._facts.baseline(Accelerator.QEMU, cpus)

    async def load(self) -> HostLoad:
        running = await self._facts.running() if self._facts.connected else 0
        return HostLoad(vms_running=running, memory_free_mib=0, disk_free_gib=0, load1=0.0, libvirt_connected=self._facts.connected)


class LibvirtHost(Host):
    real = True

    def __init__(self, host: PrivateHost) -> None:
        self.host = host

    async def open(self) -> None:
        self.ports = await open_ports(self.host.settings(), SystemClock(), lambda: Accelerator.QEMU, BareProbe, sysfs=self.host.sysfs)

    async def close(self) -> None:
        with contextlib.suppress(HouyiError):
            for vm_id in await self.ports.machine.observe():
                await self.ports.machine.undefine(vm_id)
            for network_id in await self.ports.networks.seen():
                await self.ports.networks.remove(network_id)
            for vm_id in await self.ports.disks.vms():
                await self.ports.disks.remove_vm(vm_id)
            for image_id in await self.ports.disks.images():
                await self.ports.disks.remove_image(image_id)
        await self.ports.close()

    async def pause(self) -> None:
        await asyncio.sleep(0.05)

    async def until_up(self, vm_id: VmId) -> None:
        await self.until(lambda: self.ports.consoles.log(vm_id), lambda log: GREETING in log)

    async def guest(self, vm_id: VmId, act: str) -> None:
        if act == "die":
            import os
            import signal

            os.kill(self.host.qemu_pid(vm_id), signal.SIGKILL)
            return
        if act == "hurt":
            self.host.inside("virsh", "qemu-monitor-command", f"houyi-{vm_id}", "--hmp", MACHINE_CHECK)
            return
        console = await self.ports.consoles.serial(vm_id)
        await console.write({"off": OFF, "reboot": REBOOT, "panic": PANIC}[act])
        await asyncio.sleep(0.2)  # the byte is in QEMU's queue, which a closed socket would empty
        await console.close()

    async def lose_libvirt(self) -> None:
        self.host.kill_libvirtd()
        await self.until(self._answers, lambda answers: not answers)

    async def _answers(self) -> bool:
        try:
            await self.ports.machine.observe()
        except HouyiError:
            return False
        return True

    async def restore_libvirt(self) -> None:
        await asyncio.to_thread(self.host.start_libvirtd)
        await self.until(self._answers)

    def make_bridge(self, name: str) -> None:
        self.host.inside("ip", "link", "add", name, "type", "bridge")

    async def reopen(self) -> None:
        await self.ports.close()
        await self.open()


@contextlib.contextmanager
def real_host() -> Iterator[PrivateHost]:
    with private_host() as host:
        yield host
