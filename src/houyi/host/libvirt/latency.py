"""Disks' latencies as QEMU counts them. libvirt learnt of them in 11.10; here QEMU itself is asked, so that older ones tell them too.

QEMU counts once it has been told how; that costs a request some nanoseconds, and goes on until the VM ends.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from houyi.host.libvirt.domains import find_running
from houyi.host.libvirt.qmp import Refused, ask
from houyi.model.errors import Failed
from houyi.model.ids import VmId
from houyi.model.latency import BOUNDS_NS, DiskLatency
from houyi.planning.latency import BINS, LatencyReading

_KINDS = {"reads": "rd", "writes": "wr", "flushes": "flush"}


def read_latency(connection: Any, vm_id: VmId) -> LatencyReading:
    """:raise Conflict: `not_running`. :raise Failed: `latency_unknown`."""
    domain = find_running(connection, vm_id)
    names = disk_names(domain.XMLDesc())
    try:
        found = latencies(ask(domain, "query-blockstats"), names)
        silent = [qdev for qdev, one in found.items() if one is None]
        for qdev in silent:
            ask(domain, "block-latency-histogram-set", id=qdev, boundaries=list(BOUNDS_NS))
        if silent:
            found = latencies(ask(domain, "query-blockstats"), names)
    except Refused as error:
        raise Failed("latency_unknown", f"QEMU does not count how long requests to the VM's disks take: {error}") from error
    return LatencyReading(run=str(domain.ID()), disks={one.name: one for one in found.values() if one is not None})


def disk_names(xml: str) -> dict[str, str]:
    """libvirt's name of each disk's device -> the disk's: 'virtio-disk0' -> 'vda'. :param xml: of a running domain."""
    known = {}
    for disk in ET.fromstring(xml).iterfind("devices/disk"):  # noqa: S314 - from libvirtd, which is root's and parses it itself
        alias, target = disk.find("alias"), disk.find("target")
        if disk.get("device", "disk") == "disk" and alias is not None and target is not None:
            known[alias.get("name", "")] = target.get("dev", "")
    return known


def latencies(told: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, DiskLatency | None]:
    """Each disk's device in QEMU, and what has been counted of it; None: nothing, or in other bins than ours. :param told: QEMU's answer to query-blockstats."""
    found = {}
    for one in told:
        qdev = str(one.get("qdev", ""))
        name = next((names[part] for part in qdev.split("/") if part in names), "")
        if name:
            found[qdev] = _latency(name, one.get("stats", {}))
    return found


def _latency(name: str, stats: Mapping[str, Any]) -> DiskLatency | None:
    counted = {}
    for kind, theirs in _KINDS.items():
        histogram = stats.get(f"{theirs}_latency_histogram", {})
        if tuple(histogram.get("boundaries", ())) != BOUNDS_NS or len(histogram.get("bins", ())) != BINS:
            return None
        counted[kind] = tuple(int(count) for count in histogram["bins"])
    return DiskLatency(name=name, **counted)
