"""What libvirt knows about this host, for the probe: versions, machine types, firmware, CPU."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import libvirt

from houyi.host.disk.files import Owner
from houyi.host.libvirt import cpus
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.domains import PREFIX
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.host import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtCapabilities:
    """For one accelerator and q35."""

    libvirt_version: str
    qemu_version: str
    machine_types: tuple[str, ...]
    firmwares: tuple[str, ...]
    guest_cpu: GuestCpu | None
    """What 'host-model' stands for here."""
    cpu_features: tuple[str, ...]
    """All that it has, the features of the model among them."""
    cpu_models: tuple[str, ...]
    """Named models that guests can have."""


class LibvirtFacts:
    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def capabilities(self, accelerator: Accelerator) -> LibvirtCapabilities:
        """:raise Unavailable: libvirt is away."""
        return await self._connection.call(lambda connection: _capabilities(connection, accelerator))

    async def baseline(self, accelerator: Accelerator, of: Sequence[GuestCpu]) -> CpuBaseline:
        """:raise Failed: they have none in common. :raise Unavailable: libvirt is away."""
        return await self._connection.call(lambda connection: cpus.baseline(connection, str(accelerator), of))

    async def running(self) -> int:
        """Domains of ours that are on. :raise Unavailable: libvirt is away."""
        return await self._connection.call(_running)

    async def qemu_owner(self) -> Owner | None:
        """Whom libvirt runs QEMU as; None: it does not say. :raise Unavailable: libvirt is away."""
        return await self._connection.call(lambda connection: read_owner(connection.getCapabilities()))


def version_text(number: int) -> str:
    """11003000 -> '11.3.0'."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def read_owner(capabilities: str) -> Owner | None:
    """The DAC security model's label for QEMU, '+64055:+64055' (user names are possible too but libvirt writes numbers)."""
    host = ET.fromstring(capabilities).find("host")  # noqa: S314 - from libvirtd, which is root's
    for model in () if host is None else host.findall("secmodel"):
        if model.findtext("model") == "dac" and (label := model.findtext("baselabel[@type='qemu']") or model.findtext("baselabel")):
            uid, _, gid = label.partition(":")
            return Owner(int(uid), int(gid))
    return None


def _capabilities(connection: Any, accelerator: Accelerator) -> LibvirtCapabilities:
    domain = ET.fromstring(connection.getDomainCapabilities(None, "x86_64", "q35", str(accelerator), 0))  # noqa: S314 - from libvirtd
    host = ET.fromstring(connection.getCapabilities())  # noqa: S314 - from libvirtd
    guest = next((found for found in host.findall("guest") if found.find("arch[@name='x86_64']") is not None), ET.Element("guest"))
    machines = tuple(sorted({found.text for found in guest.findall("arch/machine") if found.text}))
    efi = any(value.text == "efi" for value in domain.findall("os/enum[@name='firmware']/value"))
    guest_cpu, features = cpus.offered(connection, domain, str(accelerator))
    return LibvirtCapabilities(
        libvirt_version=version_text(connection.getLibVersion()),
        qemu_version=version_text(connection.getVersion()),
        machine_types=machines,
        firmwares=("bios", "uefi") if efi else ("bios",),
        guest_cpu=guest_cpu,
        cpu_features=features,
        cpu_models=tuple(sorted(found.text for found in domain.findall("cpu/mode[@name='custom']/model[@usable='yes']") if found.text)),
    )


def _running(connection: Any) -> int:
    return sum(1 for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) if domain.name().startswith(PREFIX))
