"""Disks' latencies as QEMU counts them. libvirt learnt of them in 11.10; here QEMU itself is asked, so that older ones tell them too.

QEMU counts once it has been told how; that costs a request some nanoseconds, and goes on until the VM ends.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

import libvirt
import libvirt_qemu

from houyi.host.libvirt.domains import mark_of
from houyi.model.errors import Conflict, Failed
from houyi.model.ids import VmId
from houyi.model.latency import BOUNDS_NS, DiskLatency
from houyi.planning.latency import BINS, LatencyReading

_KINDS = {"reads": "rd", "writes": "wr", "flushes": "flush"}


def read_latency(connection: Any, vm_id: VmId) -> LatencyReading:
    """:raise Conflict: `not_running`. :raise Failed: `latency_unknown`."""
    domain = _running(connection, vm_id)
    names = disk_names(domain.XMLDesc())
    found = latencies(_ask(domain, "query-blockstats"), names)
    silent = [qdev for qdev, one in found.items() if one is None]
    for qdev in silent:
        _ask(domain, "block-latency-histogram-set", id=qdev, boundaries=list(BOUNDS_NS))
    if silent:
        found = latencies(_ask(domain, "query-blockstats"), names)
    return LatencyReading(run=str(domain.ID()), disks={one.name: one for one in found.values() if one is not None})


def _running(connection: Any, vm_id: VmId) -> Any:
    try:
        domain = connection.lookupByUUIDString(vm_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        domain = None
    if domain is None or mark_of(domain) is None or not domain.isActive():
        raise Conflict("not_running", "the VM is not running on this host: start it first")
    return domain


def _ask(domain: Any, command: str, **arguments: Any) -> Any:
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0))
    if "error" in answer:
        raise Failed("latency_unknown", f"QEMU does not count how long requests to the VM's disks take: {answer['error'].get('desc', '')}")
    return answer["return"]


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
