"""vCPUs and their model: always one that another host can be compared with, never host-passthrough."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.model.cpu import GuestCpu
from houyi.model.host import Accelerator

TCG_MODEL = "Westmere"
"""The newest named model all of whose features TCG emulates (QEMU 10 reports every later one as unusable): x86-64-v2, which current
distributions ask for, and AES. 'max' would be faster in places but names no fixed set of features, so nothing could be migrated or compared."""


def configure(ctx: DomainContext, domain: Element) -> None:
    """Under KVM 'host-model': libvirt writes it out as a named model and features when the domain starts, which is what baselines are made of.
    On a host of a pool the pool's CPU, unless the VM names a model. What the VM asks for beside it is always required: libvirt refuses the start without it.

    A VM that was fitted to NUMA nodes runs on all of their CPUs, vCPUs unbound among them: the host's scheduler levels what is uneven within a node.
    """
    count = ctx.vm.spec.vcpus
    vcpu = child(domain, "vcpu", str(count), placement="static")
    if cpus := [cpu for node in ctx.nodes for cpu in node.cpus]:
        vcpu.set("cpuset", ",".join(str(cpu) for cpu in sorted(cpus)))
    cpu = _cpu(ctx)
    domain.append(cpu)
    # One socket of many cores: guests whose licence or scheduler counts sockets see one.
    cpu.insert(1 if cpu.find("model") is not None else 0, Element("topology", sockets="1", dies="1", cores=str(count), threads="1"))


def _cpu(ctx: DomainContext) -> Element:
    spec, of_pool = ctx.vm.spec, ctx.vm.cpu
    if of_pool is not None and not spec.cpu_model:
        return cpu_element(of_pool, spec.cpu_features, check="partial", vendor=False)
    model = spec.cpu_model or (TCG_MODEL if ctx.accelerator is Accelerator.QEMU else "")
    if model:
        check = "partial" if ctx.accelerator is Accelerator.KVM or spec.cpu_features else "none"
        return cpu_element(GuestCpu(model=model), spec.cpu_features, check=check)
    cpu = Element("cpu", mode="host-model", check="partial")
    _require(cpu, spec.cpu_features)
    return cpu


def cpu_element(cpu: GuestCpu, features: Iterable[str] = (), *, check: str = "", vendor: bool = True) -> Element:
    """A <cpu> that is exactly this one. :param features: required beside its own. :param vendor: whether guests run on hosts of its vendor only."""
    element = Element("cpu", mode="custom", match="exact")
    if check:
        element.set("check", check)
    child(element, "model", cpu.model, fallback="forbid")
    if vendor and cpu.vendor:
        child(element, "vendor", cpu.vendor)
    wanted = set(features)
    _require(element, wanted.union(cpu.required))
    for name in sorted(set(cpu.disabled) - wanted):
        child(element, "feature", policy="disable", name=name)
    return element


def _require(cpu: Element, features: Iterable[str]) -> None:
    for name in sorted(features):
        child(cpu, "feature", policy="require", name=name)
