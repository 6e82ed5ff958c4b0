"""The domain of a guest that moves, as its destination has to have it: the guest's hardware as it is where it runs, the files and sockets of where it goes.

The hardware (addresses, CPU features, the pinned machine type) must not differ by a bit, so it is taken from the running domain and not made
anew: it may have been started by another version of Houyi. Pure, over trees.
"""

import copy
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element

from houyi.host.domxml.metadata import Mark, mark_domain, read_mark
from houyi.model.errors import Failed


def landed(running: Element, there: Element, *, started_at: float, arriving: bool) -> Element:
    """:param running: the migratable XML of the running domain. :param there: what the destination would start (`landing_xml`), marked with the new epoch.

    :raise Failed: `landing_differs`: a disk of the guest has no place there.
    """
    domain = copy.deepcopy(running)
    mark = read_mark(there)
    if mark is None or domain.findtext("uuid") != there.findtext("uuid"):
        raise Failed("landing_differs", "the destination has prepared another VM: cancel the move and try again")
    mark_domain(domain, Mark(vm_id=mark.vm_id, epoch=mark.epoch, generation=mark.generation, started_at=started_at, arriving=arriving))
    for label in domain.findall("seclabel"):  # the owner of QEMU here: a libvirtd that was restarted does not know any more that it made it up itself
        domain.remove(label)
    domain.extend(copy.deepcopy(label) for label in there.findall("seclabel"))
    _text(domain, there, "title")
    _places(domain, there)
    _text(domain, there, "os/nvram")
    for disk in domain.findall("devices/disk"):
        _disk(disk, there)
    for tag in ("serial", "console"):
        for port in domain.findall(f"devices/{tag}"):
            _parts(port, there.find("devices/serial"), ("source", "log"))
    for graphics in domain.findall("devices/graphics"):
        _graphics(graphics, there.find("devices/graphics"))
    for channel in domain.findall("devices/channel"):
        for source in channel.findall("source"):  # libvirt's own choice, made anew there
            channel.remove(source)
    return domain


def landed_xml(running: str, there: str, *, started_at: float, arriving: bool) -> str:
    """The same over texts."""
    tree = landed(ET.fromstring(running), ET.fromstring(there), started_at=started_at, arriving=arriving)  # noqa: S314 - libvirtd's, and the other agent's, parsed by expat without entities
    return ET.tostring(tree, encoding="unicode")


def _text(domain: Element, there: Element, path: str) -> None:
    mine, its = domain.find(path), there.find(path)
    if mine is not None and its is not None:
        mine.text = its.text


def _places(domain: Element, there: Element) -> None:
    """On which CPUs and nodes it runs are the destination's."""
    mine, its = domain.find("vcpu"), there.find("vcpu")
    if mine is not None and its is not None:
        mine.attrib.pop("cpuset", None)
        if cpuset := its.get("cpuset"):
            mine.set("cpuset", cpuset)
    for tag in ("cputune", "numatune"):
        for old in domain.findall(tag):
            domain.remove(old)
        domain.extend(copy.deepcopy(new) for new in there.findall(tag))


def _disk(disk: Element, there: Element) -> None:
    name = _target(disk)
    match = next((one for one in there.findall("devices/disk") if _target(one) == name), None)
    if match is None:
        raise Failed("landing_differs", f"disk {name} of the guest has no place at the destination: cancel the move and look at its disks")
    _parts(disk, match, ("source", "backingStore"))


def _target(disk: Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _parts(mine: Element, its: Element | None, tags: tuple[str, ...]) -> None:
    """Replace these children by the other's, at their places."""
    for tag in tags:
        old, new = mine.find(tag), None if its is None else its.find(tag)
        if old is not None and new is not None:
            place = list(mine).index(old)
            mine.remove(old)
            mine.insert(place, copy.deepcopy(new))


def _graphics(mine: Element, its: Element | None) -> None:
    """Where it listens is wholly the destination's: libvirt writes the same in two ways, of which a migratable domain has only the older."""
    if its is None:
        return
    for old in mine.findall("listen"):
        mine.remove(old)
    for name in ("socket", "listen", "port", "autoport", "websocket"):
        mine.attrib.pop(name, None)
    mine.extend(copy.deepcopy(listen) for listen in its.findall("listen"))
