"""From what a VM's exits and waits are about to the knobs that address the dominant ones, the most useful first, each with why. Pure.

REMEDIES is our judgement of what helps against what, and by how much at best; it orders the advice and promises nothing. Whether a setting helps
a workload is for an experiment to say (`houyi tune try`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from houyi.model.host import HostFacts
from houyi.model.telemetry import VmRates
from houyi.model.tuning import Advice, Knob, Scope, Settings, Symptom, Takes
from houyi.planning.tuning.knobs import BY_NAME, clash
from houyi.planning.tuning.resolve import lacks

SHARE_MIN = 0.01
"""Below a hundredth of all exits a change could not be told from noise."""
WAIT_MIN = 0.02
"""Of its time, that a VM waits for a CPU of its host: less is any scheduler's daily work."""
EXITS_MIN = 100.0
"""A second, of a whole VM: fewer cost it less than a thousandth of one CPU, whatever they are about."""
IDLE_BELOW = 0.1
"""Of its vCPUs' time: a VM that works less than this gains nothing from polling, which costs its host a CPU."""

_S = Symptom


@dataclass(frozen=True, slots=True)
class Remedy:
    """A setting, what it is against, and the largest part of that which it may take away (0..1)."""

    knob: str
    value: str
    against: Mapping[Symptom, float]
    as_good: tuple[str, ...] = ()
    """Other values with which there is nothing left to gain."""
    burns: bool = False
    """It costs CPU time of the host while the guest is idle."""


REMEDIES: tuple[Remedy, ...] = (
    Remedy("cpu_pm", "on", {_S.HALT: 0.95, _S.PAUSE: 0.5, _S.WAKE: 0.5}, burns=True),
    Remedy("net_poll_us", "50", {_S.KICK: 0.6, _S.INTERRUPT: 0.5, _S.NETWORK: 0.3}, burns=True),
    Remedy("dedicated_hint", "on", {_S.HALT: 0.3, _S.WAKE: 0.3}, burns=True),
    Remedy("pv_ipi", "on", {_S.IPI: 0.4}),
    Remedy("pv_eoi", "on", {_S.EOI: 0.8}, as_good=("auto",)),
    Remedy("pv_tlb_flush", "on", {_S.TLB: 0.5, _S.IPI: 0.1}),
    Remedy("pv_unhalt", "on", {_S.PAUSE: 0.7, _S.STEAL: 0.2}),
    Remedy("pv_sched_yield", "on", {_S.STEAL: 0.2, _S.IPI: 0.05}),
    Remedy("x2apic", "on", {_S.MMIO: 0.5, _S.IPI: 0.2, _S.TIMER: 0.2}),
    Remedy("tsc_deadline", "on", {_S.TIMER: 0.4}),
    Remedy("kvmclock", "on", {_S.IO: 0.2, _S.TIMER: 0.1}, as_good=("auto",)),
    Remedy("hpet", "off", {_S.MMIO: 0.6, _S.TIMER: 0.1}),
    Remedy("pit", "off", {_S.IO: 0.2}),
    Remedy("net_backend", "vhost", {_S.KICK: 0.2, _S.NETWORK: 0.3}, as_good=("auto",)),
    Remedy("net_event_idx", "on", {_S.KICK: 0.4, _S.INTERRUPT: 0.3}),
    Remedy("disk_event_idx", "on", {_S.KICK: 0.2, _S.INTERRUPT: 0.1}),
    Remedy("io_poll_ns", "200000", {_S.KICK: 0.1, _S.DISK: 0.3}, burns=True),
    Remedy("hugepages", "2M", {_S.PAGE_FAULT: 0.9, _S.TRANSLATION: 0.6}, as_good=("1G",)),
    Remedy("memory_prealloc", "on", {_S.PAGE_FAULT: 0.5}),
    Remedy("free_page_reporting", "off", {_S.PAGE_FAULT: 0.3}),
    Remedy("page_sharing", "off", {_S.PAGE_FAULT: 0.1}),
    Remedy("pinning", "pinned", {_S.STEAL: 0.5, _S.WAKE: 0.2}),
    Remedy("avic", "on", {_S.IPI: 0.9, _S.EOI: 0.9, _S.INTERRUPT: 0.5}),
    Remedy("apicv", "on", {_S.EOI: 0.9, _S.INTERRUPT: 0.5, _S.IPI: 0.3}),
    Remedy("pi_inject_timer", "on", {_S.TIMER: 0.4, _S.INTERRUPT: 0.2}),
    Remedy("halt_poll_ns", "400000", {_S.WAKE: 0.4}, burns=True),
    Remedy("cpu_dma_latency", "10", {_S.WAKE: 0.3}, burns=True),
    Remedy("governor", "performance", {_S.WAKE: 0.2, _S.STEAL: 0.1}),
    Remedy("ksm", "off", {_S.PAGE_FAULT: 0.2}, as_good=("unmerge",)),
    Remedy("numa_balancing", "off", {_S.PAGE_FAULT: 0.3}),
    Remedy("thp", "madvise", {_S.TRANSLATION: 0.4, _S.PAGE_FAULT: 0.5}, as_good=("always",)),
)

_COUNTED: Mapping[str, Symptom] = {
    "halt_exits": _S.HALT,
    "io_exits": _S.IO,
    "mmio_exits": _S.MMIO,
    "irq_exits": _S.INTERRUPT,
    "irq_window_exits": _S.INTERRUPT,
    "nmi_window_exits": _S.INTERRUPT,
    "pf_taken": _S.PAGE_FAULT,
    "hypercalls": _S.HYPERCALL,
    "tlb_flush": _S.TLB,
}
"""KVM's statistics that say what exits are about; of the others only the trace by reason knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A VM as far as advice looks at it."""

    exits: Mapping[Symptom, float]
    """A second, by class."""
    exits_s: float
    """All of them; what is in no class is the difference."""
    waits: Mapping[Symptom, float]
    """Shares of its vCPUs' time."""
    busy: float | None
    """Share of their time that its vCPUs ran; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is on already, and what can be had."""

    running: Settings
    """Of the VM, where not the default."""
    asked: Settings
    """The VM's own knobs, which nothing may contradict."""
    facts: HostFacts | None
    host: Settings
    """The host's knobs, as its agent reads them; those that are not there it does not have."""


def picture_of(rates: VmRates) -> Picture:
    """From the counters that are always on. Coarse: writes of registers (timers, IPIs) are in no class, and kicks are among what is not counted."""
    exits: dict[Symptom, float] = {}
    for name, symptom in _COUNTED.items():
        if rates.exits.get(name, 0.0) > 0:
            exits[symptom] = exits.get(symptom, 0.0) + rates.exits[name]
    busy = sum(vcpu.cpu for vcpu in rates.vcpus) / len(rates.vcpus) if rates.vcpus else None
    return Picture(exits=exits, exits_s=rates.exits_s, waits={_S.STEAL: rates.delay}, busy=busy)


def traced_picture(by_class: Mapping[Symptom, float], exits_s: float, rates: VmRates | None) -> Picture:
    """From exits traced by reason (`planning.exits.symptoms`). :param exits_s: all of them. :param rates: of about the same time; None: nothing was counted.

    To the processor an access to a device's memory is a fault like any other, a virtio kick among them: what KVM's counters know of real page faults
    and of accesses that went to QEMU tells them apart, and what is left was answered in the kernel, which is a kick.
    """
    exits = dict(by_class)
    coarse = Picture(exits={}, exits_s=0.0, waits={}, busy=None) if rates is None else picture_of(rates)
    if rates is not None:
        faults = min(exits.get(_S.PAGE_FAULT, 0.0), rates.exits.get("pf_taken", 0.0))
        accesses = exits.get(_S.MMIO, 0.0) + exits.get(_S.PAGE_FAULT, 0.0) - faults
        emulated = min(accesses, rates.exits.get("mmio_exits", 0.0))
        exits |= {_S.PAGE_FAULT: faults, _S.MMIO: emulated, _S.KICK: exits.get(_S.KICK, 0.0) + accesses - emulated}
    return Picture(exits={symptom: count for symptom, count in exits.items() if count > 0}, exits_s=exits_s, waits=coarse.waits, busy=coarse.busy)


def advise(picture: Picture, place: Place) -> tuple[Advice, ...]:
    """The most useful first. Nothing that is on already, that cannot be had there, or that an own knob of the VM excludes."""
    found = [advice for remedy in REMEDIES if (advice := _advice(remedy, picture, place)) is not None]
    return tuple(sorted(found, key=lambda one: (-one.gain, one.knob.name)))


def _advice(remedy: Remedy, picture: Picture, place: Place) -> Advice | None:
    knob = BY_NAME[remedy.knob]
    if not _is_open(remedy, knob, place) or (remedy.burns and picture.busy is not None and picture.busy < IDLE_BELOW):
        return None
    parts = dict(_parts(remedy, picture))
    gain = sum(share * remedy.against[symptom] for symptom, share in parts.items())
    if gain < SHARE_MIN:
        return None
    symptom = max(parts, key=lambda one: parts[one] * remedy.against[one])
    return Advice(knob=knob, value=remedy.value, symptom=symptom, share=parts[symptom], gain=min(gain, 1.0), why=_why(symptom, parts[symptom], picture, knob))


def _is_open(remedy: Remedy, knob: Knob, place: Place) -> bool:
    """It is not so yet, and may be."""
    if knob.scope is Scope.HOST:
        return knob.name in place.host and place.host[knob.name] not in (remedy.value, *remedy.as_good)
    if place.running.get(knob.name, knob.default) in (remedy.value, *remedy.as_good):
        return False
    if place.asked.get(knob.name) is not None or clash(place.asked, knob, remedy.value) is not None:
        return False
    return place.facts is None or not lacks(place.facts, knob.name, remedy.value)


def _parts(remedy: Remedy, picture: Picture) -> Iterator[tuple[Symptom, float]]:
    for symptom in remedy.against:
        if picture.exits_s >= EXITS_MIN and (count := picture.exits.get(symptom, 0.0)) > 0:
            yield symptom, min(count / picture.exits_s, 1.0)
        elif (share := picture.waits.get(symptom, 0.0)) >= WAIT_MIN:
            yield symptom, min(share, 1.0)


def _why(symptom: Symptom, share: float, picture: Picture, knob: Knob) -> str:
    """'62 % of its exits are about halt (3100 a second): HLT, MWAIT ...'."""
    name = symptom.value.replace("_", " ")
    if symptom in picture.exits:
        said = f"{share:.0%} of its exits are about {name} ({picture.exits[symptom]:.0f} a second)"
    else:
        said = f"its vCPUs are in {name} for {share:.0%} of their time"
    later = {Takes.LIVE: "", Takes.NEXT_START: "; from its next start on", Takes.NEXT_LOAD: "; once the module is loaded again"}[knob.takes]
    return f"{said}: {knob.what}{later}"
