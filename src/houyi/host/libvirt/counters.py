"""libvirt's bulk statistics as counters: one call for all VMs, which waits for none of them.

Without NOWAIT a domain whose job is stuck would hold up the call for 30 s; with it, such a domain is told without what QEMU itself counts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import libvirt

from houyi.base.clock import Clock
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.domains import PREFIX, Memory, find, not_running
from houyi.host.libvirt.latency import read_latency
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.latency import LATENCY_SECONDS_MAX, LatencyProfile
from houyi.model.telemetry import DiskCounters, MemoryUse, NicCounters, VcpuCounters, VmCounters
from houyi.planning.latency import between

WHAT = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
HOW = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
_NS, _KIB = 1e9, 1 << 10
_SUM = ".sum"
"""libvirt's ending of what KVM counts since the start of the VM; '.cur' and '.max' are none that go on."""
_EXECUTES = frozenset({libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED})


Row = tuple[VmId, str, Mapping[str, Any]]
"""(VM, run, libvirt's statistics of it)."""


class LibvirtTelemetry:
    def __init__(self, connection: LibvirtConnection, memory: Memory, clock: Clock, pressure: Callable[[], Mapping[str, float]]) -> None:
        self._connection, self._memory, self._clock, self._pressure = connection, memory, clock, pressure

    async def pressure(self) -> Mapping[str, float]:
        return self._pressure()

    async def counters(self) -> Mapping[VmId, VmCounters]:
        return {row[0]: self._read(row) for row in await self._connection.call(_all)}

    async def counters_of(self, vm_id: VmId) -> VmCounters:
        row = await self._connection.call(lambda connection: _one(connection, vm_id))
        if row is None:
            raise not_running()
        return self._read(row)

    async def latency(self, vm_id: VmId, seconds: float) -> LatencyProfile:
        if not 0 < seconds <= LATENCY_SECONDS_MAX:
            raise Conflict("latency_too_long", f"disks are looked at for at most {LATENCY_SECONDS_MAX:g} s: ask for less")
        before = await self._connection.call(lambda connection: read_latency(connection, vm_id))
        began_at, began = self._clock.now(), self._clock.monotonic()
        await self._clock.sleep(seconds)
        disks = between(before, await self._connection.call(lambda connection: read_latency(connection, vm_id)))
        if disks is None:
            raise Conflict("not_running", "the VM was started again meanwhile: ask again")
        return LatencyProfile(vm_id=vm_id, began_at=began_at, seconds=self._clock.monotonic() - began, disks=disks)

    def _read(self, row: Row) -> VmCounters:
        vm_id, run, stats = row
        known = self._memory.known(vm_id)
        kvm = known.accelerator == "kvm" if known is not None and known.accelerator else "vcpu.0.exits.sum" in stats
        return counters_from(vm_id, run, stats, kvm=kvm, at=self._clock.now(), ticks_seconds=self._clock.monotonic())


def _all(connection: Any) -> list[Row]:
    rows = connection.getAllDomainStats(WHAT, HOW)
    return [_row(domain, stats) for domain, stats in rows if domain.name().startswith(PREFIX) and stats.get("state.state") in _EXECUTES]


def _one(connection: Any, vm_id: VmId) -> Row | None:
    domain = find(connection, vm_id)
    if domain is None:
        return None
    ((_, stats),) = connection.domainListGetStats([domain], WHAT, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return _row(domain, stats) if domain.name().startswith(PREFIX) and stats.get("state.state") in _EXECUTES else None


def _row(domain: Any, stats: Mapping[str, Any]) -> Row:
    return VmId(domain.UUIDString()), str(domain.ID()), stats


def counters_from(vm_id: VmId, run: str, stats: Mapping[str, Any], *, kvm: bool, at: float, ticks_seconds: float) -> VmCounters:
    """:param stats: of one domain, by libvirt's names ('vcpu.0.exits.sum', 'block.0.rd.reqs' ...): nanoseconds, bytes, KiB."""
    vcpus = tuple(_vcpu(stats, number) for number in range(int(stats.get("vcpu.maximum", 0))) if f"vcpu.{number}.state" in stats)
    return VmCounters(
        vm_id=vm_id,
        at=at,
        ticks_seconds=ticks_seconds,
        run=run,
        kvm=kvm,
        whole="block.0.rd.reqs" in stats and (not kvm or any(vcpu.kvm for vcpu in vcpus)),
        cpu_seconds=stats.get("cpu.time", 0) / _NS,
        vcpus=vcpus,
        disks=tuple(_disk(stats, number) for number in range(int(stats.get("block.count", 0))) if f"block.{number}.rd.reqs" in stats),
        nics=tuple(_nic(stats, number) for number in range(int(stats.get("net.count", 0))) if f"net.{number}.rx.bytes" in stats),
        memory=_memory(stats),
    )


def _vcpu(stats: Mapping[str, Any], number: int) -> VcpuCounters:
    prefix = f"vcpu.{number}."
    kvm = {
        name[len(prefix) : -len(_SUM)]: float(value)
        for name, value in stats.items()
        if name.startswith(prefix) and name.endswith(_SUM) and name[len(prefix) :].count(".") == 1
    }
    seconds = {f"{name}_seconds": stats.get(f"{prefix}{theirs}", 0) / _NS for name, theirs in (("cpu", "time"), ("delay", "delay"), ("wait", "wait"))}
    return VcpuCounters(number=number, kvm=kvm, **seconds)


def _disk(stats: Mapping[str, Any], number: int) -> DiskCounters:
    def told(name: str) -> int:
        return int(stats.get(f"block.{number}.{name}", 0))

    return DiskCounters(
        name=str(stats.get(f"block.{number}.name", number)),
        read_requests=told("rd.reqs"),
        read_bytes=told("rd.bytes"),
        read_seconds=told("rd.times") / _NS,
        write_requests=told("wr.reqs"),
        write_bytes=told("wr.bytes"),
        write_seconds=told("wr.times") / _NS,
        flush_requests=told("fl.reqs"),
        flush_seconds=told("fl.times") / _NS,
    )


def _nic(stats: Mapping[str, Any], number: int) -> NicCounters:
    """libvirt has turned the host's interface around already: rx is what the guest received."""

    def told(name: str) -> int:
        return int(stats.get(f"net.{number}.{name}", 0))

    return NicCounters(
        name=f"nic{number}",
        received_bytes=told("rx.bytes"),
        received_packets=told("rx.pkts"),
        received_errors=told("rx.errs"),
        received_drops=told("rx.drop"),
        sent_bytes=told("tx.bytes"),
        sent_packets=told("tx.pkts"),
        sent_errors=told("tx.errs"),
        sent_drops=told("tx.drop"),
    )


def _memory(stats: Mapping[str, Any]) -> MemoryUse:
    current, rss, available, unused = (float(stats.get(f"balloon.{name}", 0)) / _KIB for name in ("current", "rss", "available", "unused"))
    return MemoryUse(current_mib=current, rss_mib=rss, used_mib=available - unused if available > unused > 0 else 0.0)
