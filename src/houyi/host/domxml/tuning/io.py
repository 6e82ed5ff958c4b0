"""The disk: its threads, its queues, and how QEMU reads and writes its file."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.host.domxml.tuning.fitting import Fitting, at

_ROOT = "devices/disk[1]/driver"
"""Of the boot disk, which comes first; the seed is read once."""
QEMU_POLL_NS = 32768
"""How long QEMU's disk threads poll at most without a setting."""
_QUEUES_MAX = 16
"""As the disk has without the knob: one a vCPU, up to so many."""


def driver(name: str, *, every: bool = False) -> Fitting:
    """A value that is an attribute of the disk's driver. :param every: of every disk's."""

    def put(_ctx: DomainContext, domain: Element, value: str) -> None:
        for one in domain.findall("devices/disk/driver" if every else _ROOT):
            one.set(name, value)

    return Fitting(put, lambda domain: _of_root(domain, name))


def _of_root(domain: Element, name: str) -> str:
    found = domain.find(_ROOT)
    return "" if found is None else found.get(name, "")


def _threads(_ctx: DomainContext, domain: Element, value: str) -> None:
    at(domain, "iothreads").text = value
    for one in domain.findall(_ROOT):
        one.attrib.pop("iothread", None)
        threads = child(one, "iothreads")
        for number in range(1, int(value) + 1):
            child(threads, "iothread", id=str(number))


def _poll(_ctx: DomainContext, domain: Element, value: str) -> None:
    threads = at(domain, "iothreadids")
    for number in range(1, int(domain.findtext("iothreads") or "1") + 1):
        child(child(threads, "iothread", id=str(number)), "poll", max=value)


def _poll_seen(domain: Element) -> str:
    """QEMU's own limit is no setting: a live domain shows it once it has been put back."""
    found = domain.find("iothreadids/iothread/poll")
    limit = "" if found is None else found.get("max", "")
    return "" if limit == str(QEMU_POLL_NS) else limit


def _queues_seen(domain: Element) -> str:
    """As many as without the knob are no setting."""
    has, vcpus = _of_root(domain, "queues"), domain.findtext("vcpu") or ""
    return "" if vcpus.isdecimal() and has == str(min(int(vcpus), _QUEUES_MAX)) else has


FITTINGS = {
    "io_threads": Fitting(_threads, lambda domain: domain.findtext("iothreads") or ""),
    "io_poll_ns": Fitting(_poll, _poll_seen),
    "disk_queues": Fitting(driver("queues").put, _queues_seen),
    "disk_io": driver("io"),
    "disk_event_idx": driver("event_idx", every=True),
    "disk_packed": driver("packed", every=True),
}
