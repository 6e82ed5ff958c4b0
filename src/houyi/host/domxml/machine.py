"""Identity, machine type, firmware, and what happens when the guest ends."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, domain_name
from houyi.model.host import Accelerator
from houyi.model.vm import Firmware


def configure(ctx: DomainContext, domain: Element) -> None:
    """q35 with ACPI. UEFI firmware is chosen by libvirt from the distribution's descriptors, without Secure Boot."""
    vm = ctx.vm
    domain.set("type", str(ctx.accelerator))
    child(domain, "name", domain_name(vm.id))
    child(domain, "uuid", vm.id)
    child(domain, "title", vm.name.replace("\n", " ").replace("\r", " "))  # libvirt refuses a line break here
    boot = child(domain, "os")
    if vm.spec.firmware is Firmware.UEFI:
        boot.set("firmware", "efi")
    child(boot, "type", "hvm", arch="x86_64", machine=ctx.machine)
    if vm.spec.firmware is Firmware.UEFI:
        child(child(boot, "firmware"), "feature", enabled="no", name="secure-boot")
        child(boot, "nvram", str(ctx.paths.nvram))
    features = child(domain, "features")
    child(features, "acpi")
    child(features, "apic")
    child(features, "vmport", state="off")
    if ctx.accelerator is Accelerator.QEMU:
        child(child(features, "tcg"), "tb-cache", str(ctx.tcg_tb_size_mib), unit="MiB")
    child(domain, "on_poweroff", "destroy")
    child(domain, "on_reboot", "restart")
    # A panicked guest stays as it is, so that it is seen as crashed even if nobody listened at that moment; the agent's restart policy goes on from there.
    child(domain, "on_crash", "preserve")
