"""How a guest uses its memory and its disk, by QEMU's sample of its pages, its balloon's statistics and the size of its disk's file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libvirt

from houyi.host.libvirt.qmp import Refused, ask
from houyi.model.ids import VmId
from houyi.model.migration import GuestSample

SECONDS_MIN, SECONDS_MAX = 0.1, 60.0
"""Over which QEMU compares."""
PAGES = 8192
"""Of a guest that are compared within less than a second, as far as QEMU lets it be chosen: 32 MiB to read."""
_PAGES_OF_GIB = (128, 4096)
"""That QEMU takes."""
_KIB, _SECTOR = 1 << 10, 512


def begin_sample(domain: Any, seconds: float) -> float:
    """It goes on by itself, and costs the guest nothing.

    :return: over how long it is: parts of a second are told only to QEMU itself, from 8.2 on; libvirt and older ones know whole seconds.
    """
    asked = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
    if asked < 1 and _begin_short(domain, asked):
        return asked
    whole = max(1, round(asked))
    domain.startDirtyRateCalc(whole, libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING)
    return float(whole)


def _begin_short(domain: Any, seconds: float) -> bool:
    least, most = _PAGES_OF_GIB
    pages = min(most, max(least, round(PAGES / (domain.maxMemory() / _KIB**2))))
    how = {"calc-time": round(seconds * 1000), "calc-time-unit": "millisecond", "sample-pages": pages}
    try:
        ask(domain, "calc-dirty-rate", **how)
    except Refused:
        return False
    return True


def end_sample(connection: Any, domain: Any, seconds: float) -> GuestSample | None:
    """None: QEMU has not ended yet. Without the disk."""
    ((_, stats),) = connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_DIRTYRATE | libvirt.VIR_DOMAIN_STATS_BALLOON, 0)
    return sample_of(VmId(domain.UUIDString()), stats, seconds)


def sample_of(vm_id: VmId, stats: Mapping[str, Any], seconds: float) -> GuestSample | None:
    """:param stats: of the dirty rate and the balloon, as libvirt names them."""
    if stats.get("dirtyrate.calc_status") != libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
        return None
    return GuestSample(vm_id=vm_id, dirty_mib_s=float(stats["dirtyrate.megabytes_per_second"]), seconds=seconds, memory_mib=_used(stats))


def _used(stats: Mapping[str, Any]) -> float:
    """What the guest does not call unused (its caches are sent like all else, and what is unused it has given back to the host); without a balloon driver
    what the host holds for QEMU, which is a little more than that."""
    available, unused, held = (float(stats.get(f"balloon.{name}", 0)) / _KIB for name in ("available", "unused", "rss"))
    return available - unused if available > unused > 0 else held


def allocated_mib(disk: Path) -> float:
    """0: there is no such file on this host."""
    try:
        return disk.stat().st_blocks * _SECTOR / (1 << 20)
    except FileNotFoundError:
        return 0.0
