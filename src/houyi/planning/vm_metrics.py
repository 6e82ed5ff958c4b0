"""A VM's counters as Prometheus has them, and back: one table says every name, so that what agents show, what history is made of, and what dashboards ask is the same.

Labels: `vm` and `host` are ids; the name of a VM is a label of `houyi_vm_info`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from houyi.model.ids import VmId
from houyi.model.telemetry import DiskCounters, MemoryUse, NicCounters, VcpuCounters, VmCounters

MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    help: str
    labels: tuple[str, ...]
    """Beside `vm` and `host`."""
    gauge: bool = False


FAMILIES = (
    Family("houyi_vm_info", "A VM that runs; its name, and whether it runs under KVM.", ("name", "accelerator"), gauge=True),
    Family("houyi_vm_cpu_seconds_total", "Of the host's CPUs that QEMU used.", ()),
    Family("houyi_vm_vcpu_seconds_total", "That a vCPU ran.", ("vcpu",)),
    Family("houyi_vm_vcpu_delay_seconds_total", "That a vCPU could have run, but had to wait for a CPU of the host: what the guest sees as steal.", ("vcpu",)),
    Family("houyi_vm_vcpu_wait_seconds_total", "That a vCPU waited for something of the host other than a CPU.", ("vcpu",)),
    Family("houyi_vm_vcpu_exits_total", "VM exits; the reasons together are all of them.", ("vcpu", "reason")),
    Family("houyi_vm_kvm_events_total", "What else KVM counts, by the kernel's names; in nanoseconds where the name says so.", ("vcpu", "event")),
    Family("houyi_vm_disk_requests_total", "Requests to a disk.", ("disk", "operation")),
    Family("houyi_vm_disk_bytes_total", "Bytes read from and written to a disk.", ("disk", "operation")),
    Family("houyi_vm_disk_seconds_total", "Sum of what requests to a disk took.", ("disk", "operation")),
    Family("houyi_vm_nic_bytes_total", "Bytes that the guest received and sent.", ("nic", "direction")),
    Family("houyi_vm_nic_packets_total", "Packets that the guest received and sent.", ("nic", "direction")),
    Family("houyi_vm_nic_errors_total", "Packets with errors.", ("nic", "direction")),
    Family("houyi_vm_nic_drops_total", "Packets that were dropped.", ("nic", "direction")),
    Family(
        "houyi_vm_memory_bytes", "current: what the guest has; rss: what the host holds for QEMU; used: by the guest's balloon driver.", ("kind",), gauge=True
    ),
)
REASONS = {f"{reason}_exits": reason for reason in ("halt", "io", "mmio", "irq", "irq_window", "nmi_window", "signal", "request_irq", "notify_window")}
"""KVM's statistics that are kinds of exits; what `exits` has beyond them is the reason 'other'."""
OTHER = "other"
_CPU = {"cpu_seconds": "houyi_vm_vcpu_seconds_total", "delay_seconds": "houyi_vm_vcpu_delay_seconds_total", "wait_seconds": "houyi_vm_vcpu_wait_seconds_total"}
_DISK = tuple(
    (operation, what) for operation in ("read", "write", "flush") for what in ("requests", "bytes", "seconds") if (operation, what) != ("flush", "bytes")
)
_NIC = tuple((direction, what) for direction in ("received", "sent") for what in ("bytes", "packets", "errors", "drops"))
_MEMORY = ("current", "rss", "used")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Labels
    value: float


def samples(counters: VmCounters, name: str) -> Iterator[Sample]:
    """Everything that was read of a VM, without `vm` and `host`. :param name: of the VM."""
    yield Sample("houyi_vm_info", {"name": name, "accelerator": "kvm" if counters.kvm else "qemu"}, 1.0)
    yield Sample("houyi_vm_cpu_seconds_total", {}, counters.cpu_seconds)
    for vcpu in counters.vcpus:
        yield from _vcpu(vcpu)
    for disk in counters.disks:
        for operation, what in _DISK:
            yield Sample(f"houyi_vm_disk_{what}_total", {"disk": disk.name, "operation": operation}, float(getattr(disk, f"{operation}_{what}")))
    for nic in counters.nics:
        for direction, what in _NIC:
            yield Sample(f"houyi_vm_nic_{what}_total", {"nic": nic.name, "direction": direction}, float(getattr(nic, f"{direction}_{what}")))
    for kind in _MEMORY:
        yield Sample("houyi_vm_memory_bytes", {"kind": kind}, getattr(counters.memory, f"{kind}_mib") * MIB)


def _vcpu(vcpu: VcpuCounters) -> Iterator[Sample]:
    number = str(vcpu.number)
    for field, name in _CPU.items():
        yield Sample(name, {"vcpu": number}, getattr(vcpu, field))
    known = 0.0
    for event, count in vcpu.kvm.items():
        if event in REASONS:
            known += count
            yield Sample("houyi_vm_vcpu_exits_total", {"vcpu": number, "reason": REASONS[event]}, count)
        elif event != "exits":
            yield Sample("houyi_vm_kvm_events_total", {"vcpu": number, "event": event}, count)
    if "exits" in vcpu.kvm:
        yield Sample("houyi_vm_vcpu_exits_total", {"vcpu": number, "reason": OTHER}, max(0.0, vcpu.kvm["exits"] - known))


@dataclass(frozen=True, slots=True)
class Series:
    """As Prometheus answers it: labels with `__name__`, and (Unix seconds, value) in order."""

    labels: Labels
    points: Sequence[tuple[float, float]]


def readings(vm_id: VmId, series: Iterable[Series]) -> dict[str, list[VmCounters]]:
    """The VM's readings that a Prometheus has kept, by host, in order; the way back from `samples`."""
    scraped: dict[str, dict[float, list[Sample]]] = {}
    for one in series:
        labels = {name: value for name, value in one.labels.items() if name not in ("__name__", "vm", "host")}
        for at, value in one.points:
            sample = Sample(one.labels.get("__name__", ""), labels, value)
            scraped.setdefault(one.labels.get("host", ""), {}).setdefault(at, []).append(sample)
    return {host: [_reading(vm_id, host, at, found) for at, found in sorted(times.items())] for host, times in scraped.items()}


def _reading(vm_id: VmId, host: str, at: float, found: Sequence[Sample]) -> VmCounters:
    vcpus: dict[int, VcpuCounters] = {}
    disks: dict[str, dict[str, Any]] = {}
    nics: dict[str, dict[str, Any]] = {}
    memory: dict[str, float] = {}
    counters = VmCounters(vm_id=vm_id, at=at, ticks_seconds=at, run=host, kvm=False, whole=False)
    for one in found:
        labels = one.labels
        match one.name.removeprefix("houyi_vm_").removesuffix("_total").split("_"):
            case ["info"]:
                counters = replace(counters, kvm=labels.get("accelerator") == "kvm")
            case ["cpu", "seconds"]:
                counters = replace(counters, cpu_seconds=one.value, whole=True)
            case ["disk", what]:
                disks.setdefault(labels.get("disk", ""), {})[f"{labels.get('operation', '')}_{what}"] = one.value if what == "seconds" else int(one.value)
            case ["nic", what]:
                nics.setdefault(labels.get("nic", ""), {})[f"{labels.get('direction', '')}_{what}"] = int(one.value)
            case ["memory", "bytes"]:
                memory[f"{labels.get('kind', '')}_mib"] = one.value / MIB
            case _ if "vcpu" in labels and labels["vcpu"].isdigit():
                number = int(labels["vcpu"])
                vcpus[number] = _with(vcpus.get(number, VcpuCounters(number=number)), one)
    return replace(
        counters,
        vcpus=tuple(vcpus[number] for number in sorted(vcpus)),
        disks=tuple(DiskCounters(name=name, **_known(DiskCounters, values)) for name, values in sorted(disks.items())),
        nics=tuple(NicCounters(name=name, **_known(NicCounters, values)) for name, values in sorted(nics.items())),
        memory=MemoryUse(**_known(MemoryUse, memory)),
    )


def _with(vcpu: VcpuCounters, sample: Sample) -> VcpuCounters:
    for field, name in _CPU.items():
        if sample.name == name:
            changed: dict[str, Any] = {field: sample.value}
            return replace(vcpu, **changed)
    if sample.name == "houyi_vm_kvm_events_total":
        return replace(vcpu, kvm={**vcpu.kvm, sample.labels.get("event", ""): sample.value})
    if sample.name == "houyi_vm_vcpu_exits_total":
        reason = sample.labels.get("reason", "")
        kind = {} if reason == OTHER else {f"{reason}_exits": sample.value}
        return replace(vcpu, kvm={**vcpu.kvm, **kind, "exits": vcpu.kvm.get("exits", 0.0) + sample.value})
    return vcpu


def _known(kind: type[DiskCounters] | type[NicCounters] | type[MemoryUse], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kind.__dataclass_fields__}
