"""Where vCPUs and QEMU's other threads run."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.host.domxml.tuning.fitting import Fitting, at


def _pin(ctx: DomainContext, domain: Element, _value: str) -> None:
    """Each vCPU on the CPU that was chosen for it. QEMU's main thread and the disk's get the others that the VM may use, if there are any."""
    if not ctx.cpus:
        return
    tune = at(domain, "cputune")
    for number, cpu in enumerate(ctx.cpus):
        child(tune, "vcpupin", vcpu=str(number), cpuset=str(cpu))
    rest = sorted({cpu for node in ctx.nodes or ctx.numa for cpu in node.cpus} - set(ctx.cpus))
    if not rest:
        return
    cpuset = ",".join(str(cpu) for cpu in rest)
    child(tune, "emulatorpin", cpuset=cpuset)
    for number in range(1, int(domain.findtext("iothreads") or "0") + 1):
        child(tune, "iothreadpin", iothread=str(number), cpuset=cpuset)


def _pinned(domain: Element) -> str:
    """When every vCPU is kept on one CPU."""
    single = [one.get("vcpu") for one in domain.findall("cputune/vcpupin") if one.get("cpuset", "").isdecimal()]
    return "pinned" if single and len(set(single)) == int(domain.findtext("vcpu") or "0") else ""


def pinned_cpus(domain: Element) -> list[int]:
    """The CPUs on which a domain's vCPUs are kept, one each."""
    return [int(cpu) for one in domain.findall("cputune/vcpupin") if (cpu := one.get("cpuset", "")).isdecimal()]


FITTINGS = {"pinning": Fitting(_pin, _pinned)}
