"""The real machine's `Probe`: facts once (the KVM trial takes a while and does not change), load at every heartbeat."""

import asyncio
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from houyi import __version__
from houyi.host.probe.kvm import probe_kvm
from houyi.host.probe.machine import MachineFiles, disk_gib
from houyi.host.probe.traits import look
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import HouyiError
from houyi.model.host import Accelerator, AcceleratorProbe, HostFacts, HostLoad
from houyi.model.host_report import HostTraits


class Capabilities(Protocol):
    """What a hypervisor says that it can do with one accelerator."""

    @property
    def libvirt_version(self) -> str: ...
    @property
    def qemu_version(self) -> str: ...
    @property
    def machine_types(self) -> Sequence[str]: ...
    @property
    def firmwares(self) -> Sequence[str]: ...
    @property
    def cpu_features(self) -> Sequence[str]: ...
    @property
    def guest_cpu(self) -> GuestCpu | None: ...
    @property
    def cpu_models(self) -> Sequence[str]: ...


class Hypervisor(Protocol):
    """Whom to ask for it; host/libvirt/facts.py is one."""

    @property
    def connected(self) -> bool: ...
    async def capabilities(self, accelerator: Accelerator) -> Capabilities: ...
    async def running(self) -> int: ...
    async def baseline(self, accelerator: Accelerator, of: Sequence[GuestCpu]) -> CpuBaseline: ...


async def choose_accelerator(forced: str, seconds: float) -> AcceleratorProbe:
    """By trying, unless the settings name one."""
    if forced:
        return AcceleratorProbe(accelerator=Accelerator(forced), verdict="forced", reason=f"the setting agent.accelerator says {forced!r}")
    return await probe_kvm(seconds)


class RealProbe:
    def __init__(
        self,
        accelerator: AcceleratorProbe,
        state_dir: Path,
        libvirt: Hypervisor,
        files: MachineFiles | None = None,
        memory_mib: int = 0,
        storages: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`memory_mib`: what the host offers, 0 for all. `storages`: the shared folders that are there, name -> id."""
        self._storages = storages
        self._accelerator = accelerator
        self._state_dir = state_dir
        self._libvirt = libvirt
        self._files = files or MachineFiles()
        self._memory_mib = min(memory_mib or self._files.memory_mib(), self._files.memory_mib())

    async def facts(self) -> HostFacts:
        """:raise Unavailable: libvirt is away."""
        capabilities = await self._libvirt.capabilities(self._accelerator.accelerator)
        files = self._files
        cpu_model, _flags = files.cpu()
        size, _free = disk_gib(self._state_dir)
        return HostFacts(
            hostname=socket.gethostname(),
            boot_id=files.boot_id(),
            agent_version=__version__,
            qemu_version=capabilities.qemu_version,
            libvirt_version=capabilities.libvirt_version,
            kernel=platform.release(),
            cpu_model=cpu_model,
            cpus=files.cpus(),
            memory_mib=self._memory_mib,
            disk_gib=size,
            numa_nodes=files.numa_nodes(),
            hugepages=files.hugepages(),
            accelerator=self._accelerator,
            cpu_features=tuple(capabilities.cpu_features),
            guest_cpu=capabilities.guest_cpu,
            machine_types=tuple(capabilities.machine_types),
            firmwares=tuple(capabilities.firmwares),
            numa=files.numa(),
            cpu_models=tuple(capabilities.cpu_models),
            storages=await asyncio.to_thread(self._storages),
        )

    async def traits(self) -> HostTraits:
        """Of this machine as it is now; the trial of KVM is the one of the start."""
        return await look(self._accelerator)

    async def baseline(self, cpus: Sequence[GuestCpu]) -> CpuBaseline:
        """:raise Failed: they have none in common. :raise Unavailable: libvirt is away."""
        return await self._libvirt.baseline(self._accelerator.accelerator, cpus)

    async def load(self) -> HostLoad:
        """Never fails: without libvirt it says so."""
        _size, free = await asyncio.to_thread(disk_gib, self._state_dir)
        running, connected = 0, self._libvirt.connected
        if connected:
            try:
                running = await self._libvirt.running()
            except HouyiError:
                connected = False
        return HostLoad(
            vms_running=running,
            memory_free_mib=min(self._files.memory_free_mib(), self._memory_mib),
            disk_free_gib=free,
            load1=self._files.load1(),
            stalled=self._files.stalled(),
            libvirt_connected=connected,
        )
