"""Interrupts: between vCPUs, from devices, and their acknowledgement."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.host.domxml.tuning.fitting import Fitting, at, attribute, feature, qemu_global

_GLOBAL_IPI = qemu_global("kvm-pv-ipi")
_NO_IPI = attribute("features/kvm/pv-ipi", "state")

_HYPERV = ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "frequencies", "tlbflush", "ipi")
"""What QEMU can give to guests on any CPU; the others are for Intel's nested virtualization, for debugging, or bind the guest to its host."""
_SPINLOCK_RETRIES = "8191"
"""How often Windows tries before it tells the host: 0x1fff, as QEMU's documentation recommends."""


def _pv_ipi(ctx: DomainContext, domain: Element, value: str) -> None:
    """libvirt can only take it away: 'on' in its XML says no more than nothing, which is right for the host's own CPU model only."""
    (_GLOBAL_IPI if value == "on" else _NO_IPI).put(ctx, domain, value)


def _pv_ipi_seen(domain: Element) -> str:
    return _GLOBAL_IPI.seen(domain) or ("off" if _NO_IPI.seen(domain) == "off" else "")


def _hyperv(_ctx: DomainContext, domain: Element, _value: str) -> None:
    hyperv = at(domain, "features/hyperv")
    hyperv.set("mode", "custom")
    for name in _HYPERV:
        one = child(hyperv, name, state="on")
        if name == "stimer":
            child(one, "direct", state="on")
    child(hyperv, "spinlocks", state="on", retries=_SPINLOCK_RETRIES)
    child(at(domain, "clock"), "timer", name="hypervclock", present="yes")


def _hyperv_seen(domain: Element) -> str:
    states = [one.get("state") for name in _HYPERV if (one := domain.find(f"features/hyperv/{name}")) is not None]
    return "on" if states == ["on"] * len(_HYPERV) else ""


FITTINGS = {
    "pv_ipi": Fitting(_pv_ipi, _pv_ipi_seen),
    "pv_eoi": attribute("features/apic", "eoi"),
    "pv_tlb_flush": qemu_global("kvm-pv-tlb-flush"),
    "pv_sched_yield": qemu_global("kvm-pv-sched-yield"),
    "pv_unhalt": attribute("features/pvspinlock", "state"),
    "x2apic": feature("x2apic"),
    "hyperv": Fitting(_hyperv, _hyperv_seen),
}
