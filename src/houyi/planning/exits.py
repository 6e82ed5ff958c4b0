"""From two readings of the kernel's tables of VM exits to the profile of one VM, and what its exits are about."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from houyi.model.exits import TRACE_SECONDS_MAX, ExitProfile, Spent, Virtualization
from houyi.model.ids import VmId
from houyi.model.tuning import Symptom
from houyi.planning.exit_reasons import MSRS, SVM, VMX

T = TypeVar("T")
Key = tuple[int, ...]
Table = Mapping[Key, int]

_KEYS = re.compile(r"\{(.*?)\}(.*)")
_PAIR = re.compile(r"([a-z_]+):\s*(-?[0-9]+)")
_DROPPED = re.compile(r"\s*Dropped:\s*([0-9]+)")
_TRIGGER = re.compile(r"# trigger info: hist:keys=([^:]+)")


@dataclass(frozen=True, slots=True)
class Histogram:
    """One of a tracepoint's tables: what each key (in the order of `keys`) was counted."""

    keys: tuple[str, ...]
    hits: Table
    sums: Mapping[str, Table]
    """Of the values that it adds up, by name."""
    dropped: int


def parse_histograms(text: str) -> tuple[Histogram, ...]:
    """All tables in a `hist` file of tracefs. What is not understood is left out."""
    return tuple(_parse(block) for block in text.split("# event histogram")[1:])


def _parse(block: str) -> Histogram:
    found = _TRIGGER.search(block)
    keys = tuple(part.partition(".")[0] for part in found[1].split(",")) if found else ()
    hits: dict[Key, int] = {}
    sums: dict[str, dict[Key, int]] = {}
    for line in block.splitlines():
        row = _KEYS.match(line)
        if row is None:
            continue
        names = dict(_PAIR.findall(row[1]))
        if not keys or set(names) != set(keys):
            continue
        key = tuple(int(names[name]) for name in keys)
        values = {name: int(value) for name, value in _PAIR.findall(row[2])}
        hits[key] = values.pop("hitcount", 0)
        for name, value in values.items():
            sums.setdefault(name, {})[key] = value
    dropped = _DROPPED.search(block.rpartition("Totals:")[2])
    return Histogram(keys, hits, sums, int(dropped[1]) if dropped else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitReading:
    """The host's tables at one moment; by thread and reason, and for registers by thread, register and whether it was written."""

    exits: Table = field(default_factory=dict)
    outside_ns: Table = field(default_factory=dict)
    msrs: Table = field(default_factory=dict)
    dropped: int = 0


def profile(
    vm_id: VmId,
    before: ExitReading,
    after: ExitReading,
    threads: Collection[int],
    virtualization: Virtualization,
    began_at: float,
    seconds: float,
) -> ExitProfile:
    """Of a VM whose vCPUs are `threads`, between two readings."""
    counts = _by_reason(before.exits, after.exits, threads)
    outside = _by_reason(before.outside_ns, after.outside_ns, threads)
    msrs: dict[str, int] = {}
    for (thread, register, write), count in after.msrs.items():
        more = count - before.msrs.get((thread, register, write), 0)
        if thread in threads and more > 0:
            name = f"{'write' if write else 'read'} {MSRS.get(register, hex(register))}"
            msrs[name] = msrs.get(name, 0) + more
    reasons = {reason_name(virtualization, number): Spent(count, outside.get(number, 0)) for number, count in counts.items()}
    return ExitProfile(
        vm_id=vm_id,
        began_at=began_at,
        seconds=seconds,
        virtualization=virtualization,
        reasons=dict(sorted(reasons.items(), key=lambda entry: -entry[1].count)),
        msrs=dict(sorted(msrs.items(), key=lambda entry: -entry[1])),
        dropped=max(0, after.dropped - before.dropped),
    )


def _by_reason(before: Table, after: Table, threads: Collection[int]) -> dict[int, int]:
    """What came to it between the two; a key that went back was made anew."""
    found: dict[int, int] = {}
    for (thread, reason), value in after.items():
        earlier = before.get((thread, reason), 0)
        more = value - earlier if value >= earlier else value
        if thread in threads and more:
            found[reason] = found.get(reason, 0) + more
    return found


def reason_name(virtualization: Virtualization, number: int) -> str:
    """:param number: as the processor gives it, with VMX's flags."""
    if virtualization is Virtualization.SVM:
        return SVM.get(number & 0xFFFFFFFF, f"0x{number & 0xFFFFFFFF:x}")
    return VMX.get(number & 0xFFFF, f"0x{number & 0xFFFF:x}")


_S = Symptom
SYMPTOMS: Mapping[str, Symptom] = {
    **dict.fromkeys(("hlt", "idle-halt", "mwait", "mwait_instruction", "umwait", "tpause"), _S.HALT),
    **dict.fromkeys(("preemption_timer",), _S.TIMER),
    **dict.fromkeys(("avic_incomplete_ipi", "apic_write"), _S.IPI),
    **dict.fromkeys(("eoi_induced",), _S.EOI),
    **dict.fromkeys(("interrupt", "vintr", "external_interrupt", "interrupt_window", "nmi_window", "tpr_below_threshold"), _S.INTERRUPT),
    **dict.fromkeys(("io", "io_instruction"), _S.IO),
    **dict.fromkeys(("ept_misconfig", "apic_access", "avic_unaccelerated_access"), _S.MMIO),
    **dict.fromkeys(("pause", "pause_instruction"), _S.PAUSE),
    **dict.fromkeys(("npf", "ept_violation", "pml_full"), _S.PAGE_FAULT),
    **dict.fromkeys(("msr", "msr_read", "msr_write", "rdtsc", "rdtscp", "rdpmc"), _S.MSR),
    **dict.fromkeys(("cpuid",), _S.CPUID),
    **dict.fromkeys(("hypercall", "vmcall"), _S.HYPERCALL),
    **dict.fromkeys(("invlpg", "invlpga", "invpcid"), _S.TLB),
}
"""What an exit is about, where its reason tells that; of MSRs the register tells more."""

REGISTERS: Mapping[str, Symptom] = {
    **dict.fromkeys(("tsc_deadline", "x2apic_timer_count", "x2apic_lvtt", "x2apic_timer_divide"), _S.TIMER),
    **dict.fromkeys(("x2apic_icr", "x2apic_self_ipi"), _S.IPI),
    **dict.fromkeys(("x2apic_eoi",), _S.EOI),
}


def symptoms(one: ExitProfile) -> dict[Symptom, float]:
    """How many exits a second there are of each class, the most frequent first; those that fit none are left out."""
    found: dict[Symptom, float] = {}

    def add(symptom: Symptom, count: int) -> None:
        found[symptom] = found.get(symptom, 0.0) + count / one.seconds

    for name, spent in one.reasons.items():
        if name in SYMPTOMS:
            add(SYMPTOMS[name], spent.count)
    for name, count in one.msrs.items():
        symptom = REGISTERS.get(name.partition(" ")[2])
        if symptom is not None and _S.MSR in found:
            add(symptom, count)
            found[_S.MSR] = max(0.0, found[_S.MSR] - count / one.seconds)
    return dict(sorted(((symptom, rate) for symptom, rate in found.items() if rate > 0), key=lambda entry: -entry[1]))


REASONS_MAX = 300
_COUNT_MAX = 1 << 53
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ -]{0,40}")


def sound(one: ExitProfile, vm_id: VmId) -> ExitProfile | None:
    """What a host says of this VM, as far as it can be true; None: it cannot."""

    def good(*counts: int) -> bool:
        return all(0 <= count <= _COUNT_MAX for count in counts)

    if one.vm_id != vm_id or not 0 < one.seconds <= 2 * TRACE_SECONDS_MAX or not 0 < one.began_at < _COUNT_MAX or not good(one.dropped):
        return None
    reasons = {name: spent for name, spent in _first(one.reasons.items()) if _NAME.fullmatch(name) and good(spent.count, spent.ns)}
    return replace(one, reasons=reasons, msrs={name: count for name, count in _first(one.msrs.items()) if _NAME.fullmatch(name) and good(count)})


def _first(items: Iterable[tuple[str, T]]) -> list[tuple[str, T]]:
    return list(items)[:REASONS_MAX]
