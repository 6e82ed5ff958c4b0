"""CPUs in libvirt's words: what the host offers to guests, what several CPUs have in common, and what a running guest has."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

import libvirt

from houyi.host.domxml.cpu import cpu_element
from houyi.model.cpu import CpuBaseline, GuestCpu, is_sound, sound_features
from houyi.model.errors import Failed

_ARCH, _MACHINE = "x86_64", "q35"


def read_cpu(cpu: Element) -> GuestCpu | None:
    """A <cpu> or a <mode name='host-model'>; None if it names no model, or is nothing that we would pass on."""
    told = [(found.get("policy", "require"), found.get("name", "")) for found in cpu.findall("feature")]
    found = GuestCpu(
        model=cpu.findtext("model", ""),
        vendor=cpu.findtext("vendor", ""),
        required=tuple(sorted(name for policy, name in told if policy in ("require", "force"))),
        disabled=tuple(sorted(name for policy, name in told if policy in ("disable", "forbid"))),
    )
    return found if is_sound(found) else None


def offered(connection: Any, domain_capabilities: Element, virt_type: str) -> tuple[GuestCpu | None, tuple[str, ...]]:
    """What guests can have at most: the host's model, and every feature of it. None: libvirt does not say."""
    mode = domain_capabilities.find("cpu/mode[@name='host-model']")
    cpu = read_cpu(mode) if mode is not None else None
    return (None, ()) if cpu is None else (cpu, features(connection, virt_type, cpu))


def features(connection: Any, virt_type: str, cpu: GuestCpu) -> tuple[str, ...]:
    """Every feature of a CPU that this host knows and can give, the model's own among them."""
    found = read_cpu(ET.fromstring(_baseline(connection, virt_type, (cpu,), libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)))  # noqa: S314 - from libvirtd
    return () if found is None else sound_features(found.required)


def baseline(connection: Any, virt_type: str, cpus: Sequence[GuestCpu]) -> CpuBaseline:
    """What all of them have in common, as far as this host can give it to guests. :raise Failed: `baseline_unclear`."""
    cpu = read_cpu(ET.fromstring(_baseline(connection, virt_type, cpus, libvirt.VIR_CONNECT_BASELINE_CPU_MIGRATABLE)))  # noqa: S314 - from libvirtd
    if cpu is None:
        raise Failed("baseline_unclear", "libvirt names no CPU model for what the hosts have in common: look at their CPUs with `houyi host show`")
    return CpuBaseline(cpu=cpu, features=features(connection, virt_type, cpu))


def running_features(connection: Any, domain: Element) -> tuple[str, ...]:
    """Every feature that the guest of a running domain's XML has; nothing where libvirt cannot say it."""
    told = domain.find("cpu")
    cpu = read_cpu(told) if told is not None and domain.get("id") is not None else None
    if cpu is None:
        return ()
    try:
        return features(connection, domain.get("type", ""), cpu)
    except libvirt.libvirtError:
        return ()  # not known: libvirt itself compares the CPUs when a move is prepared


def _baseline(connection: Any, virt_type: str, cpus: Sequence[GuestCpu], flags: int) -> str:
    texts = [ET.tostring(cpu_element(cpu), encoding="unicode") for cpu in cpus]
    found: str = connection.baselineHypervisorCPU(None, _ARCH, _MACHINE, virt_type, texts, flags)
    return found
