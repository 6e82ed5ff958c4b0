"""Our mark on a domain: whose it is, and of which epoch and generation it was made. Also the reading of it."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import NAMESPACE, DomainContext, child
from houyi.model.ids import VmId

ET.register_namespace("houyi", NAMESPACE)
TAG = f"{{{NAMESPACE}}}vm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What our metadata of a domain says."""

    vm_id: VmId
    epoch: int
    generation: int
    started_at: float = 0.0
    """Unix seconds; written into the running domain only, so that it ends with it and outlives our process and libvirtd's."""
    arriving: bool = False
    """It comes, or has come, from another host and has not been told to run here: in the running domain only, until `go`."""


def configure(ctx: DomainContext, domain: Element) -> None:
    child(domain, "metadata").append(_element(TAG, Mark(vm_id=ctx.vm.id, epoch=ctx.vm.epoch, generation=ctx.vm.generation)))


def mark_domain(domain: Element, mark: Mark) -> None:
    """Put this mark in the place of the one that is there, if any."""
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = child(domain, "metadata")
    for old in metadata.findall(TAG):
        metadata.remove(old)
    metadata.append(_element(TAG, mark))


def metadata_xml(mark: Mark) -> str:
    """What virDomainSetMetadata takes: the element without its namespace, which libvirt adds (and fails over if it is there)."""
    return ET.tostring(_element("vm", mark), encoding="unicode")


def _element(tag: str, mark: Mark) -> Element:
    attributes = {"id": mark.vm_id, "epoch": str(mark.epoch), "generation": str(mark.generation)}
    if mark.started_at:
        attributes["started_at"] = f"{mark.started_at:.3f}"
    if mark.arriving:
        attributes["arriving"] = "yes"
    return Element(tag, attributes)


def read_mark(domain: Element) -> Mark | None:
    """Our metadata of a <domain>; None if there is none, or none that we can have written: then it is not ours."""
    found = domain.find(f"metadata/{TAG}")
    return None if found is None else _mark(found, domain.findtext("uuid") or "")


def parse_mark(xml: str, uuid: str) -> Mark | None:
    """The same from what virDomainGetMetadata gives: our element alone, without its namespace."""
    return _mark(ET.fromstring(xml), uuid)  # noqa: S314 - from libvirtd


def _mark(found: Element, uuid: str) -> Mark | None:
    if found.get("id") != uuid:
        return None
    try:
        return Mark(
            vm_id=VmId(found.attrib["id"]),
            epoch=int(found.attrib["epoch"]),
            generation=int(found.attrib["generation"]),
            started_at=float(found.get("started_at", "0")),
            arriving=found.get("arriving") == "yes",
        )
    except (KeyError, ValueError):
        return None
