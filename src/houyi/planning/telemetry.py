"""From two readings of a VM's counters to what it did between them; and several periods as one. Counters that went back, or are of another run, tell nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import groupby
from typing import Any, TypeVar

from houyi.model.telemetry import DiskCounters, DiskRates, MemoryUse, NicCounters, NicRates, VcpuCounters, VcpuRates, VmCounters, VmRates

PERIOD_SECONDS_MIN = 0.2
"""Over less, what one scheduler tick of the host adds is a large part of the figure."""
DIGITS = 6
"""That a rate keeps: more is noise, and three times as long in the store."""
_MIB = float(1 << 20)
_DISK = ("read_requests", "read_bytes", "read_seconds", "write_requests", "write_bytes", "write_seconds", "flush_requests", "flush_seconds")
_NIC = tuple(f"{way}_{what}" for way in ("received", "sent") for what in ("bytes", "packets", "errors", "drops"))
_VCPU = ("cpu_seconds", "delay_seconds", "wait_seconds")

C = TypeVar("C", VcpuCounters, DiskCounters, NicCounters)


def rates(before: VmCounters, now: VmCounters) -> VmRates | None:
    """What the VM did between two readings.

    :return: None: they are not of one run, one of them is not whole, too little time has passed, or a counter of the whole VM went back.
    """
    seconds = now.ticks_seconds - before.ticks_seconds
    if (before.vm_id, before.run) != (now.vm_id, now.run) or seconds < PERIOD_SECONDS_MIN or not (before.whole and now.whole):
        return None
    if now.cpu_seconds < before.cpu_seconds:
        return None
    vcpus = _both(before.vcpus, now.vcpus, lambda one: one.number, _vcpu_went_on)
    return VmRates(
        vm_id=now.vm_id,
        began_at=now.at - seconds,
        ended_at=now.at,
        kvm=now.kvm,
        cpu=_short((now.cpu_seconds - before.cpu_seconds) / seconds),
        exits=_kvm([(old.kvm, new.kvm) for old, new in vcpus], seconds),
        vcpus=tuple(_vcpu(old, new, seconds) for old, new in vcpus),
        disks=tuple(_disk(old, new, seconds) for old, new in _both(before.disks, now.disks, lambda one: one.name, _went_on(_DISK))),
        nics=tuple(_nic(old, new, seconds) for old, new in _both(before.nics, now.nics, lambda one: one.name, _went_on(_NIC))),
        memory=now.memory,
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _both(before: Sequence[C], now: Sequence[C], key: Callable[[C], object], went_on: Callable[[C, C], bool]) -> list[tuple[C, C]]:
    """Those that are in both readings and have only gone on: one that was unplugged, or plugged in anew, has no rate in this period."""
    known = {key(one): one for one in before}
    return [(known[key(one)], one) for one in now if key(one) in known and went_on(known[key(one)], one)]


def _went_on(names: Sequence[str]) -> Callable[[object, object], bool]:
    return lambda old, new: all(getattr(new, name) >= getattr(old, name) for name in names)


def _vcpu_went_on(old: VcpuCounters, new: VcpuCounters) -> bool:
    return _went_on(_VCPU)(old, new) and all(new.kvm[name] >= count for name, count in old.kvm.items() if name in new.kvm)


def _kvm(pairs: Iterable[tuple[Mapping[str, float], Mapping[str, float]]], seconds: float) -> dict[str, float]:
    moved: dict[str, float] = {}
    for old, new in pairs:
        for name, count in new.items():
            if name in old and count > old[name]:
                moved[name] = moved.get(name, 0.0) + count - old[name]
    return {name: _short(count / seconds) for name, count in sorted(moved.items())}


def _vcpu(old: VcpuCounters, new: VcpuCounters, seconds: float) -> VcpuRates:
    exits = new.kvm["exits"] - old.kvm["exits"] if "exits" in new.kvm and "exits" in old.kvm else 0.0
    return VcpuRates(
        number=new.number,
        cpu=_short((new.cpu_seconds - old.cpu_seconds) / seconds),
        delay=_short((new.delay_seconds - old.delay_seconds) / seconds),
        wait=_short((new.wait_seconds - old.wait_seconds) / seconds),
        exits_s=_short(exits / seconds),
    )


def _disk(old: DiskCounters, new: DiskCounters, seconds: float) -> DiskRates:
    def mean_ms(done: int, took: float) -> float:
        return _short(took / done * 1000) if done else 0.0

    reads, writes, flushes = (getattr(new, f"{act}_requests") - getattr(old, f"{act}_requests") for act in ("read", "write", "flush"))
    return DiskRates(
        name=new.name,
        reads_s=_short(reads / seconds),
        read_mib_s=_short((new.read_bytes - old.read_bytes) / _MIB / seconds),
        read_ms=mean_ms(reads, new.read_seconds - old.read_seconds),
        writes_s=_short(writes / seconds),
        write_mib_s=_short((new.write_bytes - old.write_bytes) / _MIB / seconds),
        write_ms=mean_ms(writes, new.write_seconds - old.write_seconds),
        flushes_s=_short(flushes / seconds),
        flush_ms=mean_ms(flushes, new.flush_seconds - old.flush_seconds),
    )


def _nic(old: NicCounters, new: NicCounters, seconds: float) -> NicRates:
    def rate(name: str, unit: float = 1.0) -> float:
        return _short((getattr(new, name) - getattr(old, name)) / unit / seconds)

    return NicRates(
        name=new.name,
        received_mib_s=rate("received_bytes", _MIB),
        received_packets_s=rate("received_packets"),
        received_errors_s=rate("received_errors"),
        received_drops_s=rate("received_drops"),
        sent_mib_s=rate("sent_bytes", _MIB),
        sent_packets_s=rate("sent_packets"),
        sent_errors_s=rate("sent_errors"),
        sent_drops_s=rate("sent_drops"),
    )


def flat(counters: VmCounters) -> dict[str, float]:
    """All of a VM's counters as one mapping, vCPUs, disks and NICs each added up: 'exits', 'halt_exits' ... as KVM names them, and with a prefix what else there is."""
    known = {"cpu_seconds": counters.cpu_seconds}
    for vcpu in counters.vcpus:
        _add(known, {f"vcpu_{name}": getattr(vcpu, name) for name in _VCPU})
        _add(known, vcpu.kvm)
    for disk in counters.disks:
        _add(known, {f"disk_{name}": float(getattr(disk, name)) for name in _DISK})
    for nic in counters.nics:
        _add(known, {f"nic_{name}": float(getattr(nic, name)) for name in _NIC})
    return known


def _add(known: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        known[name] = known.get(name, 0.0) + value


def merged(periods: Sequence[VmRates], seconds: float) -> list[VmRates]:
    """Periods of one VM, in order, as fewer, each of about `seconds` (and at least one of those given): means weighted by time, of a latency by requests."""
    return [_merge(list(group)) for _, group in groupby(periods, lambda one: (one.kvm, int(one.began_at // seconds)))]


def _merge(group: Sequence[VmRates]) -> VmRates:
    """A vCPU, disk or NIC that was not there all the time has the mean of when it was."""
    last = group[-1]
    names = sorted({name for one in group for name in one.exits})
    return replace(
        last,
        began_at=group[0].began_at,
        cpu=_mean([(one.cpu, one.seconds) for one in group]),
        exits={name: _mean([(one.exits.get(name, 0.0), one.seconds) for one in group]) for name in names},
        vcpus=_merge_parts([(one.seconds, one.vcpus) for one in group], lambda one: one.number),
        disks=_merge_parts([(one.seconds, one.disks) for one in group], lambda one: one.name),
        nics=_merge_parts([(one.seconds, one.nics) for one in group], lambda one: one.name),
        memory=_mean_part([(one.seconds, one.memory) for one in group]),
    )


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    """Of (value, weight)."""
    known = list(weighted)
    whole = sum(weight for _, weight in known)
    return _short(sum(value * weight for value, weight in known) / whole) if whole else 0.0


R = TypeVar("R", VcpuRates, DiskRates, NicRates, MemoryUse)
_REQUESTS = {"read_ms": "reads_s", "write_ms": "writes_s", "flush_ms": "flushes_s"}
"""What a mean latency is a mean over."""


def _merge_parts(periods: Iterable[tuple[float, Sequence[R]]], key: Callable[[R], object]) -> tuple[R, ...]:
    found: dict[object, list[tuple[float, R]]] = {}
    for seconds, parts in periods:
        for one in parts:
            found.setdefault(key(one), []).append((seconds, one))
    return tuple(_mean_part(group) for group in found.values())


def _mean_part(group: Sequence[tuple[float, R]]) -> R:
    def mean(name: str) -> float:
        over = _REQUESTS.get(name)
        return _mean((getattr(one, name), seconds * (getattr(one, over) if over else 1.0)) for seconds, one in group)

    last = group[-1][1]
    means: dict[str, Any] = {one.name: mean(one.name) for one in fields(last) if isinstance(getattr(last, one.name), float)}
    return replace(last, **means)
