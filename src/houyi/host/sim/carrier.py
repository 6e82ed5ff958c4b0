"""Files of stopped VMs between simulated machines: a disk is what was written on it, and travels in as many blocks as it takes GiB."""

import hashlib
from collections.abc import AsyncIterator

from houyi.host.port import BLOCK_BYTES, Parcel
from houyi.host.sim.state import SimState
from houyi.model.errors import Failed
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm


class SimCarrier:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def parcels(self, vm_id: VmId) -> tuple[Parcel, ...]:
        self._sim.enter("parcels", vm_id, libvirt=False)
        if vm_id not in self._sim.disks or vm_id in self._sim.on:
            return ()
        size = self._sim.disks[vm_id] * BLOCK_BYTES
        return (Parcel(name="disk", size_bytes=size, stored_bytes=size),)

    async def blocks(self, vm_id: VmId, name: str, start: int) -> AsyncIterator[tuple[int, bytes]]:
        for number in range(self._sim.disks[vm_id]):
            if number * BLOCK_BYTES >= start:
                yield number * BLOCK_BYTES, self._block(vm_id, number)

    def _block(self, vm_id: VmId, number: int) -> bytes:
        return b"%d of %s: %d: %s" % (number, vm_id.encode(), self._sim.written.get(vm_id, 0), self._sim.contents[vm_id])

    async def digest(self, vm_id: VmId, name: str) -> str:
        return _digest({number * BLOCK_BYTES: self._block(vm_id, number) for number in range(self._sim.disks[vm_id])})

    async def arrived(self, vm_id: VmId, name: str) -> int:
        blocks = self._sim.carried.get((vm_id, name), {})
        return max(blocks) + BLOCK_BYTES if blocks else 0

    async def put(self, vm_id: VmId, name: str, offset: int, data: bytes) -> None:
        self._sim.enter("put", vm_id, libvirt=False)
        if self._sim.disk_full:
            raise Failed("disk_full", "the disk is full")
        self._sim.carried.setdefault((vm_id, name), {})[offset] = data

    async def accept(self, vm: DesiredVm, parcel: Parcel, sha256: str) -> None:
        self._sim.enter("accept", vm.id, libvirt=False)
        blocks = self._sim.carried.pop((vm.id, parcel.name), {})
        if _digest(blocks) != sha256:
            raise Failed("carried_differs", f"the {parcel.name} of VM {vm.name} did not arrive as it was sent: move the VM again")
        if parcel.size_bytes != vm.spec.disk_gib * BLOCK_BYTES:
            raise Failed("carried_refused", f"the disk of VM {vm.name} is of another size: it is not this VM's")
        self._sim.disks[vm.id] = vm.spec.disk_gib
        _, mark, self._sim.contents[vm.id] = blocks[0].split(b": ", 2)
        self._sim.written[vm.id] = int(mark)


def _digest(blocks: dict[int, bytes]) -> str:
    digest = hashlib.sha256()
    for offset, data in sorted(blocks.items()):
        digest.update(offset.to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
