"""What guests can have of devices."""

from collections.abc import Iterator

from houyi.model.host_report import Area, Has, HostTraits, Item
from houyi.planning.host_rules.words import in_words, many, unknown


def _item(name: str, value: str, meaning: str, advice: str = "", weight: int = 0) -> Item:
    return Item(name=name, area=Area.DEVICES, value=value, meaning=meaning, advice=advice, weight=weight if advice else 0)


def iommu(traits: HostTraits) -> Iterator[Item]:
    devices, virt = traits.devices, traits.virt
    meaning = "devices can be given to guests, each confined to its guest's memory"
    if devices.iommu_groups is None:
        yield _item("IOMMU", unknown(traits, "devices.iommu_groups"), meaning)
        return
    if not devices.iommu_groups:
        where = "in the hypervisor below" if virt.inside_vm else "in the firmware"
        option = {"intel": "intel_iommu=on iommu=pt", "amd": "iommu=pt"}.get(virt.vendor, "iommu=pt")
        advice = f"switch VT-d or AMD-Vi on {where}, and boot with `{option}`, if guests are to have devices of their own"
        yield _item("IOMMU", "none in use", "no device can be given to a guest", advice, 10 if virt.inside_vm else 40)
        return
    value = f"{', '.join(devices.iommus) or 'in use'}: {many(devices.iommu_groups, 'group')}"
    words = traits.kernel.command_line
    advice = ""
    if words is not None and not {"iommu=pt", "iommu.passthrough=1"} & set(words):
        advice = "boot with `iommu=pt`: the host's own devices then do without translation"
    yield _item("IOMMU", value, meaning, advice, 20)


def remapping(traits: HostTraits) -> Iterator[Item]:
    devices = traits.devices
    if not devices.iommu_groups:
        return
    meaning = "a guest's device can raise only the guest's own interrupts; without it VFIO refuses to give devices away"
    if devices.interrupt_remapping is None:
        yield _item("interrupt remapping", unknown(traits, "devices.interrupt_remapping"), meaning)
        return
    advice, weight = "", 0
    if not devices.interrupt_remapping:
        advice, weight = "switch x2APIC and interrupt remapping on in the firmware, and take intremap=off and nox2apic off the kernel command line", 40
    yield _item("interrupt remapping", "on" if devices.interrupt_remapping else "off", meaning, advice, weight)
    if devices.unsafe_interrupts:
        meaning = "VFIO gives devices away also without interrupt remapping: a guest with one can send the host any interrupt"
        yield _item("unsafe interrupts", "allowed", meaning, "take vfio_iommu_type1.allow_unsafe_interrupts=1 out", 60)


def vhost(traits: HostTraits) -> Iterator[Item]:
    devices = traits.devices
    meaning = "packets of guests go from kernel to guest without QEMU: without it each costs exits to QEMU"
    advice = {
        Has.OFF: "`modprobe vhost_net`, and `echo vhost_net > /etc/modules-load.d/vhost_net.conf`",
        Has.ABSENT: "use a kernel with CONFIG_VHOST_NET: distributions' kernels have it as a module",
    }.get(devices.vhost_net or Has.ON, "")
    yield _item("vhost-net", in_words(traits, "devices.vhost_net", devices.vhost_net), meaning, advice, 60)
    meaning = "disks and NICs of guests can be served by processes of their own (SPDK, qemu-storage-daemon, OVS-DPDK), past QEMU"
    yield _item("vhost-user", in_words(traits, "devices.vhost_user", devices.vhost_user), meaning)


def functions(traits: HostTraits) -> Iterator[Item]:
    found = [function for function in traits.devices.functions if function.vfs_total]
    meaning = "a NIC or disk controller that is split into virtual functions: a guest with one does its input and output without exits"
    if not found:
        yield _item("SR-IOV", "no device can be split", meaning)
        return
    there, used = sum(function.vfs_total for function in found), sum(function.vfs for function in found)
    each = "; ".join(
        f"{function.address} {'/'.join(function.interfaces) or function.driver or 'without driver'}: {function.vfs} of {function.vfs_total}"
        for function in found
    )
    advice = ""
    if not used and traits.devices.iommu_groups:
        advice = f"`echo N > /sys/bus/pci/devices/{found[0].address}/sriov_numvfs` makes functions that guests can have"
    yield _item("SR-IOV", f"{used} of {there} functions made ({each})", meaning, advice, 15)


RULES = (iommu, remapping, vhost, functions)
