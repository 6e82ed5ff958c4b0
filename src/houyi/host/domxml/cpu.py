"""vCPUs and their model: always one that another host can be compared with, never host-passthrough."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.model.host import Accelerator

TCG_MODEL = "Westmere"
"""The newest named model all of whose features TCG emulates (QEMU 10 reports every later one as unusable): x86-64-v2, which current
distributions ask for, and AES. 'max' would be faster in places but names no fixed set of features, so nothing could be migrated or compared."""


def configure(ctx: DomainContext, domain: Element) -> None:
    """Under KVM 'host-model': libvirt writes it out as a named model and features when the domain starts, which is what baselines are made of.

    A VM that was fitted to NUMA nodes runs on all of their CPUs, vCPUs unbound among them: the host's scheduler levels what is uneven within a node.
    """
    count = ctx.vm.spec.vcpus
    vcpu = child(domain, "vcpu", str(count), placement="static")
    if cpus := [cpu for node in ctx.nodes for cpu in node.cpus]:
        vcpu.set("cpuset", ",".join(str(cpu) for cpu in sorted(cpus)))
    model = ctx.vm.spec.cpu_model or (TCG_MODEL if ctx.accelerator is Accelerator.QEMU else "")
    if model:
        cpu = child(domain, "cpu", mode="custom", match="exact", check="partial" if ctx.accelerator is Accelerator.KVM else "none")
        child(cpu, "model", model, fallback="forbid")
    else:
        cpu = child(domain, "cpu", mode="host-model", check="partial")
    # One socket of many cores: guests whose licence or scheduler counts sockets see one.
    child(cpu, "topology", sockets="1", dies="1", cores=str(count), threads="1")
