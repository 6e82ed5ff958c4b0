"""Memory: its pages, whether they are shared, and whether free ones go back."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child
from houyi.host.domxml.tuning.fitting import Fitting, at, attribute, flag, put_flag

_KIB = {"2M": "2048", "1G": "1048576"}
_TO_KIB = {"KiB": 1, "k": 1, "MiB": 1 << 10, "M": 1 << 10, "GiB": 1 << 20, "G": 1 << 20}
_REPORTING = attribute("devices/memballoon", "freePageReporting")


def _hugepages(ctx: DomainContext, domain: Element, value: str) -> None:
    """A page that was given back could be another's when the guest wants it again, and the guest would be killed: so none is."""
    child(at(domain, "memoryBacking/hugepages"), "page", size=_KIB[value], unit="KiB")
    _keep_free_pages(ctx, domain)


def _hugepages_seen(domain: Element) -> str:
    page = domain.find("memoryBacking/hugepages/page")
    if page is None:
        return ""
    try:
        kib = int(page.get("size", "")) * _TO_KIB[page.get("unit", "KiB")]
    except (ValueError, KeyError):
        return ""
    return next((value for value, size in _KIB.items() if size == str(kib)), "")


def _lock(ctx: DomainContext, domain: Element, _value: str) -> None:
    put_flag(domain, "memoryBacking/locked")
    _keep_free_pages(ctx, domain)


def _keep_free_pages(ctx: DomainContext, domain: Element) -> None:
    _REPORTING.put(ctx, domain, "off")


def _prealloc(_ctx: DomainContext, domain: Element, _value: str) -> None:
    at(domain, "memoryBacking/allocation").set("mode", "immediate")


def _prealloc_seen(domain: Element) -> str:
    found = domain.find("memoryBacking/allocation")
    return "on" if found is not None and found.get("mode") == "immediate" else ""


def _strict(_ctx: DomainContext, domain: Element, value: str) -> None:
    """Of a VM that may use the whole host there is nothing to be strict about."""
    found = domain.find("numatune/memory")
    if found is not None:
        found.set("mode", value)


def _strict_seen(domain: Element) -> str:
    found = domain.find("numatune/memory")
    return "strict" if found is not None and found.get("mode") == "strict" else ""


FITTINGS = {
    "free_page_reporting": _REPORTING,
    "hugepages": Fitting(_hugepages, _hugepages_seen),
    "page_sharing": flag("memoryBacking/nosharepages", there="off"),
    "memory_lock": Fitting(_lock, lambda domain: "on" if domain.find("memoryBacking/locked") is not None else ""),
    "memory_prealloc": Fitting(_prealloc, _prealloc_seen),
    "numa_memory": Fitting(_strict, _strict_seen),
}
