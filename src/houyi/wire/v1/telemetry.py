"""What VMs did, as their hosts counted it, as JSON."""

from collections.abc import Mapping

from pydantic import Field

from houyi.model.telemetry import VmRates
from houyi.wire.v1.shape import Id, Shown, Time, rfc3339


class VcpuTelemetry(Shown):
    number: int
    cpu: float = Field(description="Share of the period that it ran: 0..1.")
    delay: float = Field(description="Share of the period that it could have run, but had to wait for a CPU of the host: what the guest sees as steal.")
    wait: float = Field(description="Share of the period that it waited for something of the host other than a CPU.")
    exits_s: float = Field(description="VM exits a second.")


class DiskTelemetry(Shown):
    name: str
    reads_s: float
    read_mib_s: float
    read_ms: float = Field(description="Mean time of a read; 0: there was none.")
    writes_s: float
    write_mib_s: float
    write_ms: float
    flushes_s: float
    flush_ms: float


class NicTelemetry(Shown):
    """As the guest sees it: received is what came to it."""

    name: str = Field(description="nic0 is the VM's first.")
    received_mib_s: float
    received_packets_s: float
    received_errors_s: float
    received_drops_s: float
    sent_mib_s: float
    sent_packets_s: float
    sent_errors_s: float
    sent_drops_s: float


class MemoryTelemetry(Shown):
    """At the end of the period; 0: not known."""

    current_mib: float = Field(description="What the guest has.")
    rss_mib: float = Field(description="What the host holds for QEMU.")
    used_mib: float = Field(description="Of what it has, what the guest uses, by its balloon driver.")


class VmTelemetry(Shown):
    """What a VM did in a period."""

    vm_id: Id
    vm_name: str
    project_id: Id
    host_id: Id = Field(description="The host that counted it.")
    host_name: str = Field(description="Empty: the host was removed.")
    began_at: Time
    ended_at: Time
    seconds: float
    kvm: bool = Field(description="Whether it runs under KVM; under TCG there are no VM exits.")
    cpu: float = Field(description="CPUs of the host that it used, on average.")
    delay: float = Field(description="Share of their time that its vCPUs had to wait for a CPU of the host, on average: what the guest sees as steal.")
    exits_s: float = Field(description="VM exits a second, all vCPUs together.")
    exits: dict[str, float] = Field(description="KVM's statistics by the kernel's names, a second, all vCPUs together; those that did not move are left out.")
    vcpus: list[VcpuTelemetry]
    disks: list[DiskTelemetry]
    nics: list[NicTelemetry]
    memory: MemoryTelemetry


class TelemetryNow(Shown):
    """The newest period of each VM that runs, by name."""

    items: list[VmTelemetry]


class TelemetryHistory(Shown):
    """Periods of one VM, oldest first."""

    vm_id: Id
    vm_name: str
    source: str = Field(description="'ring': the newest hour or so, which the platform keeps itself; 'prometheus': asked there.")
    items: list[VmTelemetry]


def show_telemetry(rates: VmRates, names: Mapping[str, str]) -> VmTelemetry:
    """:param names: vm_name, project_id, host_id, host_name."""
    return VmTelemetry(
        **names,
        vm_id=rates.vm_id,
        began_at=rfc3339(rates.began_at),
        ended_at=rfc3339(rates.ended_at),
        seconds=round(rates.seconds, 3),
        kvm=rates.kvm,
        cpu=rates.cpu,
        delay=round(rates.delay, 6),
        exits_s=rates.exits_s,
        exits=dict(rates.exits),
        vcpus=[VcpuTelemetry.model_validate(one, from_attributes=True) for one in rates.vcpus],
        disks=[DiskTelemetry.model_validate(one, from_attributes=True) for one in rates.disks],
        nics=[NicTelemetry.model_validate(one, from_attributes=True) for one in rates.nics],
        memory=MemoryTelemetry.model_validate(rates.memory, from_attributes=True),
    )
