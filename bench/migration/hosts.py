"""Two private hosts of the tests, joined by a wire, each with a libvirtd, an agent's ports and an agent's door; and one guest that goes back and forth."""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

from contract.hosts import LibvirtHost, new_vm
from houyi.agent.identity import Identity
from houyi.agent.keypair import KeyPair
from houyi.agent.net_door import NetDoor
from houyi.base.clock import SystemClock
from houyi.base.config import AgentSettings
from houyi.control.ca import Authority
from houyi.host.libvirt.passages import LibvirtPassages
from houyi.model.errors import HouyiError
from houyi.model.host import move_name
from houyi.model.ids import HostId, ImageId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.migration import Landing, Presence
from houyi.model.vm import DesiredVm
from migration import writer
from real.hosts import PrivateHost, join, private_host

IDS = tuple(HostId(f"00000000-0000-4000-8000-00000000000{letter}") for letter in "ab")


@dataclass
class Side:
    """One host."""

    id: HostId
    private: PrivateHost
    host: LibvirtHost
    door: NetDoor
    passages: LibvirtPassages
    address: str

    @property
    def mover(self):
        return self.host.ports.mover

    def folder(self, vm: DesiredVm) -> Path:
        return self.host.ports.files / "vms" / vm.id

    def serial(self, vm: DesiredVm) -> Path:
        return self.private.settings().run_dir / "sockets" / f"{vm.id}.serial"


@dataclass
class Pair:
    sides: tuple[Side, Side]
    content: bytes
    vm: DesiredVm
    here: int = 0
    """At which side the guest is."""
    _shared: bool = field(default=False)

    @property
    def source(self) -> Side:
        return self.sides[self.here]

    @property
    def destination(self) -> Side:
        return self.sides[1 - self.here]

    async def begin(self) -> None:
        await self.source.host.have_disk(self.vm, self._image(), self.content)
        await self.source.host.ports.machine.start(self.vm)

    def _image(self) -> DesiredImage:
        digest = hashlib.sha256(self.content).hexdigest()
        size = len(self.content)
        return DesiredImage(id=self.vm.spec.image_id, format=DiskFormat.RAW, size_bytes=size, virtual_size_bytes=size, sha256=digest)

    async def landing(self) -> tuple[DesiredVm, Landing]:
        """The VM as the destination shall have it, and everything ready there. Both hosts see one disk, so that only memory is moved."""
        moved = replace(self.vm, epoch=self.vm.epoch + 1)
        await self.destination.host.have_disk(moved, self._image(), self.content)
        if not self._shared:
            disk = self.destination.folder(moved) / "disk.qcow2"
            disk.unlink()
            os.link(self.source.folder(moved) / "disk.qcow2", disk)
            self._shared = True
        xml = await self.destination.mover.landing_xml(moved)
        return moved, Landing(address=self.destination.address, port=0, tls_name=move_name(self.destination.id), domain_xml=xml, copies_disk=False)

    async def look(self, moved: DesiredVm) -> bool:
        """Whether it lives at the destination now; remembers it. :raise RuntimeError: it lives in neither place, or in both."""
        for _ in range(100):
            found = [(await side.mover.presences([moved.id]))[moved.id] for side in (self.source, self.destination)]
            if found == [Presence.NONE, Presence.LIVE]:
                self.here, self.vm = 1 - self.here, moved
                return True
            if found[0] is Presence.LIVE and found[1] in (Presence.NONE, Presence.OFF):
                return False
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the guest is lost: {found}")


@asynccontextmanager
async def pair(working_set_mib: int, noise: float) -> AsyncIterator[Pair]:
    """Everything is gone afterwards."""
    with private_host() as one, private_host() as other:
        addresses = join(one, other)
        folder = Path(mkdtemp(prefix="houyi-bench-"))
        authority = Authority.open(folder / "ca", SystemClock())
        made: list[Side] = []
        try:
            for private, host_id, address in zip((one, other), IDS, addresses, strict=True):
                made.append(await _side(private, host_id, address, authority, folder))
            image = ImageId("00000000-0000-4000-8000-0000000000cc")
            vm = new_vm(image_id=image, memory_mib=writer.BASE_MIB + working_set_mib + 4)
            found = Pair((made[0], made[1]), writer.disk(working_set_mib, noise), vm)
            await found.begin()
            yield found
        finally:
            for side in made:
                await side.door.close()
                with contextlib.suppress(HouyiError):
                    await side.host.close()
            shutil.rmtree(folder)


async def _side(private: PrivateHost, host_id: HostId, address: str, authority: Authority, folder: Path) -> Side:
    host = LibvirtHost(private)
    await host.open()
    identity = Identity(folder / host_id)
    identity.keep_membership(authority.issue_host(host_id, identity.request()), authority.pem, "t")
    key = KeyPair(identity.folder, "move")
    await host.ports.mover.credentials(authority.pem, authority.issue_move(host_id, key.request()), key.key_path.read_text())
    passages = LibvirtPassages(private.uri)
    door = NetDoor(identity, AgentSettings(door_port=0, door_address="127.0.0.1"), passages, folder / f"ways-{host_id[-1]}")
    return Side(host_id, private, host, door, passages, address)
