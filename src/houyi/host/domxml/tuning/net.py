"""Network cards: who moves the packets, and how often guest and host interrupt each other for it."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext
from houyi.host.domxml.tuning.fitting import Fitting, add_arguments, argument_after, at, without_capability

_POLL = "netdev.hostnet0.poll-us="


def driver(name: str) -> Fitting:
    """A value that is an attribute of each card's driver."""

    def put(_ctx: DomainContext, domain: Element, value: str) -> None:
        for one in _drivers(domain):
            one.set(name, value)

    return Fitting(put, lambda domain: _of_first(domain, name))


def _drivers(domain: Element) -> Iterator[Element]:
    for card in domain.findall("devices/interface"):
        yield at(card, "driver")


def _of_first(domain: Element, name: str) -> str:
    """All cards have the same."""
    found = domain.find("devices/interface/driver")
    return "" if found is None else found.get(name, "")


def _poll(_ctx: DomainContext, domain: Element, value: str) -> None:
    """libvirt has no word for it, and writes network back ends in a form that options cannot be added to, unless it believes that QEMU takes the older form only.

    Its names for them are counted through from 0. Only the kernel's threads poll.
    """
    cards = domain.findall("devices/interface")
    if not cards:
        return
    without_capability(domain, "netdev.json")
    for number, card in enumerate(cards):
        at(card, "driver").set("name", "vhost")
        add_arguments(domain, "-set", f"netdev.hostnet{number}.poll-us={value}")


def _wait(_ctx: DomainContext, domain: Element, _value: str) -> None:
    """Only QEMU's own back end waits."""
    for one in _drivers(domain):
        one.set("name", "qemu")
        one.set("txmode", "timer")


FITTINGS = {
    "net_backend": driver("name"),
    "net_queues": driver("queues"),
    "net_rx_ring": driver("rx_queue_size"),
    "net_event_idx": driver("event_idx"),
    "net_packed": driver("packed"),
    "net_poll_us": Fitting(_poll, lambda domain: argument_after(domain, "-set", _POLL)),
    "net_coalesce": Fitting(_wait, lambda domain: "timer" if _of_first(domain, "txmode") == "timer" else ""),
}
