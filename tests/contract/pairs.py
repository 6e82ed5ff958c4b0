"""Two machines between which a VM can move, for the contract of Mover: what a move needs beside the two movers."""

import asyncio
import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

from contract.hosts import CONTENT, IMAGE, Host, LibvirtHost, SimulatedHost, TickingClock, new_vm
from houyi.agent.door import Admission, Line, Way
from houyi.agent.identity import Identity
from houyi.agent.keypair import KeyPair
from houyi.agent.net_door import NetDoor
from houyi.base.clock import SystemClock
from houyi.base.config import AgentSettings
from houyi.control.ca import Authority
from houyi.host.libvirt.passages import LibvirtPassages
from houyi.host.sim import SimNet
from houyi.host.sim.net import SimRoad
from houyi.model.host import move_name
from houyi.model.ids import HostId, ImageId, MigrationId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.migration import Landing, Terms
from houyi.model.vm import DesiredVm
from leftovers import ROOM, own, remove_leftovers
from real import page_writer
from real.hosts import PrivateHost

WRITER_MIB = 64
WRITER_CONTENT = page_writer.disk(WRITER_MIB)
WRITER = DesiredImage(
    id=ImageId("00000000-0000-4000-8000-0000000000bb"),
    format=DiskFormat.RAW,
    size_bytes=len(WRITER_CONTENT),
    virtual_size_bytes=len(WRITER_CONTENT),
    sha256=hashlib.sha256(WRITER_CONTENT).hexdigest(),
)
"""Writes all of its memory, again and again; needs page_writer.BASE_MIB and a little more."""
WRITER_MEMORY_MIB = page_writer.BASE_MIB + WRITER_MIB + 4

SOURCE, DESTINATION = (HostId(f"00000000-0000-4000-8000-00000000000{letter}") for letter in "ab")


@dataclass
class Machines(ABC):
    """`source` and `destination` are as the other contract tests have them."""

    source: Host
    destination: Host

    async def writer(self) -> DesiredVm:
        """A guest that has written all its memory, and goes on: it cannot be moved in no time."""
        vm = await self.guest(WRITER, WRITER_CONTENT, memory_mib=WRITER_MEMORY_MIB)
        await self.source.until(lambda: self.source.ports.consoles.log(vm.id), lambda log: bool(page_writer.said(log)) or not self.source.real)
        return vm

    async def guest(self, image: DesiredImage = IMAGE, content: bytes = CONTENT, **spec: object) -> DesiredVm:
        """A VM that runs at the source, of epoch 1."""
        vm = new_vm(image_id=image.id, **spec)
        await self.source.have_disk(vm, image, content)
        await self.source.ports.machine.start(vm)
        return vm

    async def landing(self, vm: DesiredVm, image: DesiredImage = IMAGE, content: bytes = CONTENT) -> tuple[DesiredVm, Landing]:
        """The VM as the destination shall have it, and everything ready there."""
        moved = replace(vm, epoch=vm.epoch + 1)
        await self.destination.have_disk(moved, image, content)
        xml = await self.destination.ports.mover.landing_xml(moved)
        return moved, Landing(address=self.address, port=0, tls_name=self.tls_name, domain_xml=xml)

    @property
    @abstractmethod
    def address(self) -> str:
        """Of the destination."""

    @property
    def tls_name(self) -> str:
        """Of the destination."""
        return move_name(DESTINATION)

    @abstractmethod
    def way(self, vm: DesiredVm, landing: Landing, terms: Terms) -> AbstractAsyncContextManager[Way]:
        """How the source reaches the destination's libvirt, as an async context manager."""


class RunningClock(TickingClock):
    """Goes on by itself, as fast as it can: what moves takes simulated seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0)
            if self.waiting:
                self.forward(max(0.0, min(at for at, _ in self.waiting) - self.time))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@dataclass
class SimulatedMachines(Machines):
    """Joined by a simulated network; a door is only who keeps it open."""

    clock: RunningClock
    net: SimNet = field(default_factory=SimNet)

    def open(self) -> None:
        for name, host in (("a", self.source), (self.address, self.destination)):
            assert isinstance(host, SimulatedHost)
            host.sim.join(self.net, name)
            host.ports = host.sim.ports()

    async def close(self) -> None:
        for host in (self.source, self.destination):
            await host.ports.close()
        await self.clock.stop()

    @property
    def address(self) -> str:
        return "b"

    @asynccontextmanager
    async def way(self, vm: DesiredVm, landing: Landing, terms: Terms) -> AsyncIterator[Way]:
        move, way = MigrationId(vm.id), Way(Path(f"/sim/{vm.id}.sock"))
        self.net.open_door(self.address, move, self)
        self.net.open_road(way.path, SimRoad(move, "a", self.address, way.arrived.set))
        yield way
        self.net.close_road(way.path)
        self.net.shut_door(self.address, move)


def simulated_machines() -> SimulatedMachines:
    clock = RunningClock()
    made = SimulatedMachines(SimulatedHost(clock), SimulatedHost(clock), clock)
    made.open()
    return made


def own_folder() -> Path:
    """What a killed run left is removed by the next one."""
    remove_leftovers("pair-")
    folder = Path(mkdtemp(prefix="pair-", dir=ROOM))
    own(folder)
    return folder


@dataclass
class RealMachines(Machines):
    """Doors and certificates as agents have them, but of this process, so the doors are on loopback; QEMU goes over the wire between the hosts."""

    wires: tuple[str, str]
    """The addresses of both, the source's first."""
    ids: tuple[HostId, HostId] = (SOURCE, DESTINATION)
    folder: Path = field(default_factory=own_folder)

    async def open(self, one: PrivateHost, other: PrivateHost) -> None:
        authority = Authority.open(self.folder / "ca", SystemClock())
        doors: list[NetDoor] = []
        for private, host, host_id in ((one, self.source, SOURCE), (other, self.destination, DESTINATION)):
            identity = Identity(self.folder / host_id)
            identity.keep_membership(authority.issue_host(host_id, identity.request()), authority.pem, "t")
            pair = KeyPair(identity.folder, "move")
            await host.ports.mover.credentials(authority.pem, authority.issue_move(host_id, pair.request()), pair.key_path.read_text())
            settings = AgentSettings(door_port=0, door_address="127.0.0.1")
            doors.append(NetDoor(identity, settings, LibvirtPassages(private.uri), self.folder / "ways"))
        self.from_door, self.to_door = doors
        self.passages, self.passages_back = LibvirtPassages(other.uri), LibvirtPassages(one.uri)

    def turn_round(self) -> None:
        """The next move goes back."""
        self.source, self.destination = self.destination, self.source
        self.from_door, self.to_door = self.to_door, self.from_door
        self.passages, self.passages_back = self.passages_back, self.passages
        self.wires, self.ids = self.wires[::-1], self.ids[::-1]

    async def close(self) -> None:
        await self.to_door.close()
        await self.from_door.close()
        for host in (self.source, self.destination):
            assert isinstance(host, LibvirtHost)
            await host.close()
        shutil.rmtree(self.folder)

    @property
    def address(self) -> str:
        return self.wires[1]

    @property
    def tls_name(self) -> str:
        return move_name(self.ids[1])

    @asynccontextmanager
    async def way(self, vm: DesiredVm, landing: Landing, terms: Terms) -> AsyncIterator[Way]:
        move = MigrationId(vm.id)

        async def no_files(_line: Line) -> None:
            raise AssertionError("a live move carries no files through the door")

        async def go() -> None:
            await self.destination.ports.mover.go(vm.id, run=True)

        address, port = await self.to_door.admit(
            Admission(move=move, peer=self.ids[0], libvirt=lambda: self.passages.open(vm.id, landing, terms), files=no_files, go=go, broke=print)
        )
        self.at_door = replace(landing, address=address, port=port)
        async with self.from_door.way(move, self.ids[1], self.at_door) as way:
            yield way
        await self.to_door.shut(move)

    async def go(self, vm: DesiredVm) -> None:
        """As the source's agent says it, while the way is open."""
        await self.from_door.go(MigrationId(vm.id), self.ids[1], self.at_door)


async def real_machines(one: PrivateHost, other: PrivateHost, wires: tuple[str, str]) -> RealMachines:
    source, destination = LibvirtHost(one), LibvirtHost(other)
    await source.open()
    await destination.open()
    made = RealMachines(source, destination, wires)
    await made.open(one, other)
    return made
