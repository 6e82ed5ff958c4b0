"""Doing one step on the machine, and tidying up what no VM needs any more."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from houyi.agent.idle import Idle
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.model.errors import HouyiError, Unavailable
from houyi.model.ids import ImageId, NetworkId, VmId
from houyi.model.image import DesiredImage
from houyi.model.migration import End
from houyi.model.network import DesiredNetwork
from houyi.model.vm import DesiredVm
from houyi.planning.lifecycle import Memory, Step
from houyi.wire.agents import Desired

T = TypeVar("T")

log = get_log(__name__)

STARTS_AT_ONCE = 4
"""More at once make each start slower, and the slowest is what users wait for."""

FETCHES_AT_ONCE = 2
"""More share the same line and disk, and each would be ready later."""

IMAGE_KEPT_SECONDS = 3600.0
"""How long an image stays in the cache after its last VM: who deletes one VM often makes another of the same image."""
NETWORK_KEPT_SECONDS = 15.0
"""How long a network stays up after its last VM."""

ReadImage = Callable[[ImageId, int, int], Awaitable[bytes]]
"""(image, offset, length) -> bytes, from the server."""
Tell = Callable[[float], None]


class Steps:
    def __init__(
        self, ports: Ports, read_image: ReadImage, desired: Callable[[], Desired | None], clock: Clock, *, network_kept_seconds: float = NETWORK_KEPT_SECONDS
    ) -> None:
        self._ports = ports
        self._read_image = read_image
        self._desired = desired
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._fetches: dict[ImageId, asyncio.Task[None]] = {}
        self._tells: dict[ImageId, dict[VmId, Tell]] = {}
        self._network_locks: dict[str, asyncio.Lock] = {}
        self._idle_images: Idle[ImageId] = Idle(clock, IMAGE_KEPT_SECONDS)
        self._idle_networks: Idle[NetworkId] = Idle(clock, network_kept_seconds)

    async def run(self, step: Step, vm: DesiredVm, tell: Tell) -> None:
        """:raise HouyiError: as the ports say; Unavailable: try again later."""
        machine, disks = self._ports.machine, self._ports.disks
        match step:
            case Step.FETCH_IMAGE:
                await self._fetch(vm, tell)
            case Step.ENSURE_NETWORKS:
                for network in self._networks_of(vm):
                    await self._ensure(network)
            case Step.CREATE_DISK:
                await disks.create_disk(vm, self._image_of(vm))
            case Step.WRITE_SEED:
                await disks.write_seed(vm, self._networks_of(vm))
            case Step.START | Step.START_PAUSED:
                async with self._starts:
                    await machine.start(vm, paused=step is Step.START_PAUSED)
            case Step.SHUTDOWN:
                await machine.shutdown(vm.id)
            case Step.DESTROY:
                await machine.destroy(vm.id)
            case Step.SUSPEND:
                await machine.suspend(vm.id)
            case Step.RESUME:
                await machine.resume(vm.id)
            case Step.REBOOT:
                await machine.reboot(vm.id)
            case Step.RESET:
                await machine.reset(vm.id)
            case Step.UNDEFINE:
                await machine.undefine(vm.id)
            case Step.REMOVE_FILES:
                await disks.remove_vm(vm.id)

    async def tidy(self, desired: Desired, memories: Mapping[VmId, Memory]) -> None:
        """Bring networks up to date that some VM here is on (their reservations may have changed), and remove images and networks that none needs."""
        for network in desired.networks:
            await _later(self._ensure(network))
        known = {vm.id for vm in desired.vms} | {move.vm.id for move in desired.moves}
        remembered = {vm_id for vm_id, memory in memories.items() if not memory.parted_at}
        if not (await self._ports.disks.vms() <= known and remembered <= known):
            return  # a VM that the server does not know (an older store was restored?) may need any network and any image
        there = await _later(self._ports.networks.seen()) or frozenset()
        for network_id in self._idle_networks.ripe(there, self._needed_networks()):
            if network_id not in self._needed_networks():  # it may have become needed while another was being removed
                await _later(self._ports.networks.remove(network_id))
        for image_id in self._idle_images.ripe(await self._ports.disks.images(), self._needed_images()):
            if image_id not in self._needed_images():
                await _later(self._ports.disks.remove_image(image_id))

    def _needed_networks(self) -> frozenset[NetworkId]:
        desired = self._desired()
        return frozenset(network.id for network in desired.networks) if desired else frozenset()

    def _needed_images(self) -> frozenset[ImageId]:
        desired = self._desired()
        if desired is None:
            return frozenset(self._fetches)
        landing = {move.vm.spec.image_id for move in desired.moves if move.end is End.DESTINATION}
        return frozenset({vm.spec.image_id for vm in desired.vms} | landing | {image.id for image in desired.images} | self._fetches.keys())

    async def _ensure(self, network: DesiredNetwork) -> None:
        async with self._network_locks.setdefault(network.id, asyncio.Lock()):
            await self._ports.networks.ensure(network)

    def _image_of(self, vm: DesiredVm) -> DesiredImage:
        desired = self._desired()
        for image in desired.images if desired else ():
            if image.id == vm.spec.image_id:
                return image
        raise Unavailable("image_awaited", f"image {vm.spec.image_id} is not available yet")

    def _networks_of(self, vm: DesiredVm) -> tuple[DesiredNetwork, ...]:
        desired = self._desired()
        wanted = {nic.network_id for nic in vm.nics}
        return tuple(network for network in (desired.networks if desired else ()) if network.id in wanted)

    async def _fetch(self, vm: DesiredVm, tell: Tell) -> None:
        """One fetch an image, however many VMs wait for it; it goes on when one of them loses interest."""
        image = self._image_of(vm)
        tells = self._tells.setdefault(image.id, {})
        tells[vm.id] = tell
        task = self._fetches.get(image.id)
        if task is None:

            def tell_all(share: float) -> None:
                for one in tuple(tells.values()):
                    one(share)

            async def read(offset: int, length: int) -> bytes:
                return await self._read_image(image.id, offset, length)

            async def fetch() -> None:
                async with self._slots:
                    await self._ports.disks.fetch_image(image, read, tell_all)

            task = self._fetches[image.id] = asyncio.create_task(fetch(), name=f"fetch-{image.id}")
            task.add_done_callback(lambda ended: self._fetched(image.id, ended))
        try:
            await asyncio.shield(task)
        finally:
            tells.pop(vm.id, None)

    def _fetched(self, image_id: ImageId, task: asyncio.Task[None]) -> None:
        self._fetches.pop(image_id, None)
        self._tells.pop(image_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.info("fetch_failed", image=image_id, error=str(task.exception()))


async def _later(tidying: Awaitable[T]) -> T | None:
    """Tidy, or leave it to the next pass: what cannot be tidied holds up nothing else."""
    try:
        return await tidying
    except (HouyiError, OSError) as error:
        log.info("tidy_later", error=str(error))
        return None
