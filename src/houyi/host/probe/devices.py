"""What guests can have of devices: IOMMU and interrupt remapping, devices that can be split, vhost."""

import re

from houyi.host.probe.reading import Reading
from houyi.model.host_report import DeviceTraits, Has, PhysicalFunction

_PCI = "sys/bus/pci/devices"
_FUNCTIONS_MAX = 256


def read_devices(reading: Reading, emulator_devices: str | None) -> DeviceTraits:
    """:param emulator_devices: what QEMU lists as its devices; None: it could not be asked."""
    if not reading.exists("sys/kernel"):
        reading.lost("devices.iommu_groups", "/sys/kernel is not there")
    if emulator_devices is None:
        reading.lost("devices.vhost_user", "QEMU does not list its devices")
    return DeviceTraits(
        iommus=reading.names("sys/class/iommu"),
        iommu_groups=len(reading.names("sys/kernel/iommu_groups")) if reading.exists("sys/kernel") else None,
        interrupt_remapping=reading.parsed("proc/interrupts", _remapped, "devices.interrupt_remapping"),
        unsafe_interrupts=reading.flag("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"),
        vhost_net=_vhost_net(reading),
        vhost_user=None if emulator_devices is None else Has.ON if '"vhost-user-blk-pci"' in emulator_devices else Has.ABSENT,
        functions=tuple(_function(reading, address) for address in _splittable(reading)),
    )


def _remapped(text: str) -> bool:
    """The kernel puts IR- before the name of a chip whose interrupts pass the IOMMU's tables."""
    return re.search(r"\bIR-(IO-APIC|PCI-MSI|HPET)", text) is not None


def _vhost_net(reading: Reading) -> Has:
    if reading.exists("sys/module/vhost_net"):
        return Has.ON
    if reading.exists("dev/vhost-net"):  # made ahead of its module, which opening it loads
        return Has.ON
    release = reading.text("proc/sys/kernel/osrelease") or ""
    found = any(
        reading.exists(f"{root}/{release}/kernel/drivers/vhost/vhost_net.ko{end}")
        for root in ("lib/modules", "usr/lib/modules")
        for end in ("", ".xz", ".zst", ".gz")
    )
    return Has.OFF if release and found else Has.ABSENT


def _splittable(reading: Reading) -> tuple[str, ...]:
    return tuple(name for name in reading.names(_PCI) if reading.exists(f"{_PCI}/{name}/sriov_totalvfs"))[:_FUNCTIONS_MAX]


def _function(reading: Reading, address: str) -> PhysicalFunction:
    folder = f"{_PCI}/{address}"
    return PhysicalFunction(
        address=address,
        driver=reading.link(f"{folder}/driver"),
        interfaces=reading.names(f"{folder}/net"),
        vfs_total=reading.number(f"{folder}/sriov_totalvfs", "devices.functions") or 0,
        vfs=reading.number(f"{folder}/sriov_numvfs", "devices.functions") or 0,
    )
