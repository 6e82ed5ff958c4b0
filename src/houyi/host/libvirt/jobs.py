"""libvirt's job statistics of outgoing moves as Figures. No calls to libvirt."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import libvirt

from houyi.host.libvirt.presences import is_postcopy
from houyi.model.ids import VmId
from houyi.model.migration import Figures

MIB = 1 << 20
EVENT_SECONDS = 1.0
"""How long the event of a move's end may come after the end itself."""


class Endings:
    """The last figures of each move from here: libvirt tells them in an event, about when the move's caller hears of the end. Used from the event loop only."""

    def __init__(self) -> None:
        self._last: dict[VmId, Figures] = {}
        self._told: dict[VmId, asyncio.Event] = {}

    def begin(self, vm_id: VmId) -> None:
        """A move begins: nothing is known of its end."""
        self._last.pop(vm_id, None)
        self._told[vm_id] = asyncio.Event()

    def told(self, vm_id: VmId, figures: Figures) -> None:
        self._last[vm_id] = figures
        if vm_id in self._told:
            self._told[vm_id].set()

    async def wait(self, vm_id: VmId) -> None:
        """The event may come after the answer; it is waited for, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVENT_SECONDS):
                await self._told[vm_id].wait()

    def take(self, vm_id: VmId) -> Figures:
        """All zero if nothing was told."""
        self._told.pop(vm_id, None)
        return self._last.pop(vm_id, Figures())


_PAGE = 4096
LEAST_THROTTLE = 1
"""Percent: less QEMU does not take, so an attempt that may slow its guest begins with it."""


def figures_of(stats: Mapping[str, Any], state: tuple[int, int] = (libvirt.VIR_DOMAIN_NOSTATE, 0)) -> Figures:
    """:param stats: jobStats(), or what the event of the job's end carries: bytes, milliseconds, pages a second."""

    def mib(name: str) -> float:
        return float(stats.get(name, 0)) / MIB

    page, sent = float(stats.get("memory_page_size", _PAGE)), float(stats.get("memory_processed", 0))
    return Figures(
        elapsed_seconds=float(stats.get("time_elapsed", 0)) / 1000,
        memory_total_mib=mib("memory_total"),
        memory_remaining_mib=mib("memory_remaining"),
        memory_sent_mib=mib("memory_processed"),
        disk_total_mib=mib("disk_total"),
        disk_remaining_mib=mib("disk_remaining"),
        disk_sent_mib=mib("disk_processed"),
        rounds=int(stats.get("memory_iteration", 0)),
        dirty_mib_s=float(stats.get("memory_dirty_rate", 0)) * page / MIB,
        bandwidth_mib_s=mib("memory_bps"),
        downtime_ms=float(stats.get("downtime", 0)),
        throttle_percent=throttle if (throttle := int(stats.get("auto_converge_throttle", 0))) > LEAST_THROTTLE else 0,
        postcopy=is_postcopy(*state),
        smaller=float(stats.get("memory_normal_bytes", 0)) / sent if sent else 0.0,
    )
