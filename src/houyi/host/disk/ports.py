"""The Disks port of a real machine."""

import asyncio
import contextlib
import shutil
from collections import defaultdict

from houyi.host.disk import cache, overlay, seed
from houyi.host.disk.files import Files, Owner
from houyi.host.disk.shared import SharedFolders
from houyi.host.port import Progress, ReadImage
from houyi.model.ids import ImageId, VmId
from houyi.model.image import DesiredImage
from houyi.model.names import is_id
from houyi.model.network import DesiredNetwork
from houyi.model.vm import DesiredVm


class RealDisks:
    """`user` is who converts images (empty: ourselves)."""

    def __init__(self, files: Files, owner: Owner, user: str, shared: SharedFolders) -> None:
        self._files, self._owner, self._user, self._shared = files, owner, user, shared
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch_image(self, image: DesiredImage, read: ReadImage, progress: Progress) -> None:
        async with self._locks[image.id]:
            await cache.fetch(self._files, image, read, progress, self._owner, self._user)

    async def images(self) -> frozenset[ImageId]:
        whole = (path for path in self._files.images.iterdir() if path.suffix in {".qcow2", ".raw"})
        return frozenset(ImageId(path.stem) for path in whole if is_id(path.stem))

    async def remove_image(self, image_id: ImageId) -> None:
        """VMs on it go on: each holds a link to the file."""
        async with self._locks[image_id]:
            for path in (self._files.cached(image_id), self._files.part(image_id)):
                if path is not None:
                    path.unlink(missing_ok=True)

    async def create_disk(self, vm: DesiredVm, image: DesiredImage) -> None:
        async with self._locks[vm.id]:
            await overlay.create(self._files, vm, image, self._owner, self._shared.disk(vm))

    async def adopt_disk(self, vm: DesiredVm) -> bool:
        async with self._locks[vm.id]:
            shared = self._shared.disk(vm)
            return shared is not None and await asyncio.to_thread(overlay.adopt, self._files, vm, shared)

    async def write_seed(self, vm: DesiredVm, networks: tuple[DesiredNetwork, ...]) -> None:
        async with self._locks[vm.id]:
            await asyncio.to_thread(seed.write, self._files, vm, networks, self._owner)

    async def vms(self) -> frozenset[VmId]:
        return frozenset(VmId(path.name) for path in self._files.vms.iterdir() if is_id(path.name))

    async def remove_vm(self, vm_id: VmId) -> None:
        async with self._locks[vm_id]:
            if self._files.disk(vm_id).is_symlink():
                self._files.disk(vm_id).resolve().unlink(missing_ok=True)
        await self.leave_vm(vm_id)

    async def leave_vm(self, vm_id: VmId) -> None:
        async with self._locks[vm_id]:
            for socket in (self._files.serial_socket(vm_id), self._files.vnc_socket(vm_id)):
                socket.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(shutil.rmtree, self._files.vm(vm_id))
