"""The boot disk and the NoCloud seed, both virtio, served by an I/O thread of their own."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices
from houyi.model.image import DiskFormat
from houyi.model.vm import Remedy, Trouble
from houyi.planning.spec import remedy

IO_THREAD = "1"


def configure(ctx: DomainContext, domain: Element) -> None:
    """The whole backing chain is written down, so that neither libvirt nor QEMU guesses a format from content.

    cache='none' because a host's page cache in between is a second copy of the guest's, and must not exist when a disk is moved live.
    A guest whose disk fails is stopped (and reported) instead of seeing errors that make it remount read-only, unless that is what was asked for.
    """
    child(domain, "iothreads", "1")
    failing = "report" if remedy(ctx.vm.spec, Trouble.IO_ERROR) is Remedy.REPORT else "stop"
    disk = child(devices(domain), "disk", type_="file", device="disk")
    child(
        disk,
        "driver",
        name="qemu",
        type_="qcow2",
        cache="none",
        discard="unmap",
        error_policy=failing,
        rerror_policy=failing,
        iothread=IO_THREAD,
        queues=_queues(ctx),
    )
    child(disk, "source", file=str(ctx.paths.disk))
    backing = child(disk, "backingStore", type_="file")
    child(backing, "format", type_="raw" if ctx.paths.base_format is DiskFormat.RAW else "qcow2")
    base = child(backing, "source", file=str(ctx.paths.base))
    child(base, "seclabel", model="dac", relabel="no")  # shared by many VMs and read-only: it stays root's
    child(backing, "backingStore")
    child(disk, "target", dev="vda", bus="virtio")
    child(disk, "serial", "root")
    child(disk, "boot", order="1")

    seed = child(devices(domain), "disk", type_="file", device="disk")
    child(seed, "driver", name="qemu", type_="raw", iothread=IO_THREAD)
    child(seed, "source", file=str(ctx.paths.seed))
    child(seed, "backingStore")
    child(seed, "target", dev="vdb", bus="virtio")
    child(seed, "readonly")
    child(seed, "serial", "seed")


def _queues(ctx: DomainContext) -> str:
    """One queue a vCPU, so that no vCPU waits for another's; more than 16 gain nothing behind one I/O thread."""
    return str(min(ctx.vm.spec.vcpus, 16))
