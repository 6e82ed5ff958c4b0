"""Timers."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.host.domxml.tuning.fitting import Fitting, add_arguments, argument_among, at, feature

_PRESENT = {"on": "yes", "off": "no"}
_NO_PIT = {"off": "pit=off"}


def timer(name: str) -> Fitting:
    """Whether a clock or timer is there."""

    def put(_ctx: DomainContext, domain: Element, value: str) -> None:
        clock = at(domain, "clock")
        for old in [one for one in clock.findall("timer") if one.get("name") == name]:
            clock.remove(old)
        child(clock, "timer", name=name, present=_PRESENT[value])

    def seen(domain: Element) -> str:
        found = next((one.get("present", "") for one in domain.findall("clock/timer") if one.get("name") == name), "")
        return {word: value for value, word in _PRESENT.items()}.get(found, "")

    return Fitting(put, seen)


def _no_pit(_ctx: DomainContext, domain: Element, _value: str) -> None:
    """libvirt's <timer name="pit" present="no"/> changes nothing on QEMU; the machine type's own option does."""
    clock = at(domain, "clock")
    for old in [one for one in clock.findall("timer") if one.get("name") == "pit"]:
        clock.remove(old)
    add_arguments(domain, "-machine", _NO_PIT["off"])


FITTINGS = {
    "tsc_deadline": feature("tsc-deadline"),
    "kvmclock": timer("kvmclock"),
    "hpet": timer("hpet"),
    "pit": Fitting(_no_pit, lambda domain: argument_among(domain, "-machine", _NO_PIT)),
}
