"""What CPU and KVM module give guests: flags of /proc/cpuinfo, parameters of the modules, and Intel's capability registers where flags do not tell.

The registers are those of Intel's manual, volume 3, appendix A: the high half of each holds what may be switched on.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from houyi.host.probe.reading import Reading
from houyi.model.host_report import Has, VirtTraits

_PINBASED, _PROCBASED2 = 0x481, 0x48B
_PIN_BITS = {"preemption_timer": 6, "posted_intr": 7}
_PROC_BITS = {"ept": 1, "vpid": 5, "unrestricted_guest": 7, "vapic_reg": 8, "vid": 9}
_HALT_POLL = ("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink")
_VENDORS = {"GenuineIntel": "intel", "AuthenticAMD": "amd", "HygonGenuine": "amd"}


@dataclass(frozen=True, slots=True)
class Cpu:
    """What /proc/cpuinfo says of the first one."""

    vendor: str
    flags: frozenset[str]
    vmx_flags: frozenset[str] | None
    """None: this kernel does not list them (before 5.8), or the CPU is none of Intel's."""


def read_cpu(reading: Reading) -> Cpu | None:
    text = reading.text("proc/cpuinfo", "virt")
    if text is None:
        return None
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    vmx = fields.get("vmx flags")
    vendor = _VENDORS.get(fields.get("vendor_id", ""), "")
    return Cpu(vendor, frozenset(fields.get("flags", "").split()), None if vmx is None else frozenset(vmx.split()))


def read_virt(reading: Reading) -> VirtTraits:
    cpu = read_cpu(reading)
    module = next((name for name in reading.names("sys/module") if name.startswith("kvm_")), "")
    kvm = "sys/module/kvm/parameters"
    polls = {name: value for name in _HALT_POLL if (value := reading.number(f"{kvm}/{name}")) is not None}
    plain = {
        "module": module,
        "halt_poll": polls,
        "nx_huge_pages": reading.parsed(f"{kvm}/nx_huge_pages", lambda text: text in ("Y", "1", "force")),
        "pi_inject_timer": reading.flag(f"{kvm}/pi_inject_timer"),
    }
    if cpu is None:
        return VirtTraits(**plain)  # type: ignore[arg-type]
    both = {"vendor": cpu.vendor, "inside_vm": "hypervisor" in cpu.flags, **plain}
    if cpu.vendor == "intel":
        return VirtTraits(**both, **_intel(reading, cpu, module))  # type: ignore[arg-type]
    if cpu.vendor == "amd":
        return VirtTraits(**both, **_amd(reading, cpu, module))  # type: ignore[arg-type]
    reading.lost("virt.hardware", "only CPUs of Intel and AMD are known")
    return VirtTraits(**both)  # type: ignore[arg-type]


def _used(offered: bool | None, switched: bool | None) -> Has | None:
    """:param offered: the CPU has it. :param switched: the module uses it; None: it does not say."""
    if offered is False:
        return Has.ABSENT
    if switched is None:
        return None if offered is None else Has.ON
    if switched:
        return Has.ON
    return Has.OFF if offered else None


def _module_flag(reading: Reading, module: str, name: str, wanted: str) -> bool | None:
    """A parameter of the CPU's own module; False where that is not loaded: nothing is used then."""
    return reading.flag(f"sys/module/{module}/parameters/{name}") if module == wanted else False


def _intel(reading: Reading, cpu: Cpu, module: str) -> Mapping[str, Has | None]:
    if "vmx" not in cpu.flags:
        return dict.fromkeys(("hardware", "nested_paging", "vpid", "apic", "posted_interrupts", "unrestricted_guest", "preemption_timer", "nested"), Has.ABSENT)
    offers = cpu.vmx_flags if cpu.vmx_flags is not None else _registers(reading)

    def offered(*names: str) -> bool | None:
        return None if offers is None else all(name in offers for name in names)

    def parameter(name: str) -> bool | None:
        return _module_flag(reading, module, name, "kvm_intel")

    apicv, posted = parameter("enable_apicv"), offered("posted_intr")
    has = {
        "hardware": _used(True, module == "kvm_intel"),
        "nested_paging": _used(True if "ept" in cpu.flags else offered("ept"), parameter("ept")),
        "vpid": _used(True if "vpid" in cpu.flags else offered("vpid"), parameter("vpid")),
        "apic": _used(_apic_virtualization(offers), apicv),
        "posted_interrupts": _used(_remapping_posts(reading, posted), apicv),
        "unrestricted_guest": _used(offered("unrestricted_guest"), parameter("unrestricted_guest")),
        "preemption_timer": _used(offered("preemption_timer"), parameter("preemption_timer")),
        "nested": _used(True, parameter("nested")),
    }
    for name in (name for name, value in has.items() if value is None):
        reading.lost(f"virt.{name}", "this kernel does not list it, and /dev/cpu/0/msr cannot be read (modprobe msr)")
    return has


def _apic_virtualization(offers: frozenset[str] | None) -> bool | None:
    """The kernel sums it up as 'apicv' only in `flags` of old versions; registers and newer flags name its parts."""
    if offers is None:
        return None
    return "apicv" in offers or {"vapic_reg", "vid"} <= offers


def _remapping_posts(reading: Reading, posted: bool | None) -> bool | None:
    """Devices' interrupts are posted by the IOMMU (capability bit 59), and the CPU must take them."""
    if not posted:
        return posted
    capability = [text for name in reading.names("sys/class/iommu") if (text := reading.text(f"sys/class/iommu/{name}/intel-iommu/cap"))]
    try:
        return any(int(text, 16) >> 59 & 1 for text in capability)
    except ValueError:
        return None


def _registers(reading: Reading) -> frozenset[str] | None:
    found = set()
    for register, bits in ((_PINBASED, _PIN_BITS), (_PROCBASED2, _PROC_BITS)):
        try:
            (value,) = struct.unpack("<Q", reading.read("dev/cpu/0/msr", register, 8))
        except (OSError, struct.error):
            return None
        found |= {name for name, bit in bits.items() if value >> 32 >> bit & 1}
    return frozenset(found)


def _amd(reading: Reading, cpu: Cpu, module: str) -> Mapping[str, Has | None]:
    """A guest's translations are always tagged, real mode is never emulated, and there is no preemption timer."""
    if "svm" not in cpu.flags:
        return dict.fromkeys(("hardware", "nested_paging", "vpid", "apic", "posted_interrupts", "unrestricted_guest", "preemption_timer", "nested"), Has.ABSENT)

    def parameter(name: str) -> bool | None:
        return _module_flag(reading, module, name, "kvm_amd")

    loaded = module == "kvm_amd"
    avic = "avic" in cpu.flags or "x2avic" in cpu.flags
    return {
        "hardware": _used(True, loaded),
        "nested_paging": _used("npt" in cpu.flags, parameter("npt")),
        "vpid": _used("flushbyasid" in cpu.flags, loaded),
        "apic": _used(avic, parameter("avic")),
        "posted_interrupts": _used(avic and _guest_mode(reading), parameter("avic")),
        "unrestricted_guest": _used(True, loaded),
        "preemption_timer": Has.ABSENT,
        "nested": _used(True, parameter("nested")),
    }


def _guest_mode(reading: Reading) -> bool:
    """Whether an IOMMU of AMD gives interrupts to AVIC: bits 21 to 23 of its extended features, or none."""
    for name in reading.names("sys/class/iommu"):
        words = (reading.text(f"sys/class/iommu/{name}/amd-iommu/features") or "0").split(":")
        try:
            if int(words[0], 16) >> 21 & 7:
                return True
        except ValueError:
            continue
    return False
