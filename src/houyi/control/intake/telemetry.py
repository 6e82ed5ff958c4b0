"""What a host counted of its VMs. What is about others, or is no sound figure, is dropped; nothing rests on it."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.errors import NotFound
from houyi.model.ids import HostId
from houyi.model.telemetry import DiskRates, NicRates, VcpuRates, VmRates
from houyi.store.rows.telemetry import put_rates
from houyi.store.views.telemetry import projects_held

log = get_log(__name__)

_FIGURE_MAX = 1e12
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
"""Of one of KVM's statistics, a disk or a NIC: they become labels."""
EXITS_MAX = 80
"""Statistics of KVM that are kept of one period; kernels have about fifty."""
VCPUS_MAX, DEVICES_MAX = 1024, 64
AHEAD_SECONDS = 60.0
"""How far a period may end ahead of the server's clock: what lay farther ahead would hide what comes after it."""


async def take_telemetry(control: Control, host_id: HostId, periods: Sequence[VmRates]) -> None:
    """Write it down as far as it may be believed."""
    if not periods:
        return
    held = await control.store.read(lambda c: projects_held(c, host_id))
    latest = control.clock.now() + AHEAD_SECONDS
    sound = [one for period in periods if period.vm_id in held and (one := _sound(period)) is not None and one.ended_at <= latest]
    if len(sound) < len(periods):
        log.info("telemetry_dropped", host=host_id, periods=len(periods) - len(sound))
    if sound:
        try:
            await control.store.apply([put_rates(host_id, sound, control.settings.agent.telemetry_seconds)])
        except NotFound:
            log.info("telemetry_late", host=host_id)  # a VM was deleted meanwhile: the next report is without it


def _sound(period: VmRates) -> VmRates | None:
    """Without names that are none; None: figures that are none."""
    exits = {name: rate for name, rate in sorted(period.exits.items())[:EXITS_MAX] if _NAME.fullmatch(name)}
    kept = replace(
        period,
        exits=exits,
        vcpus=period.vcpus[:VCPUS_MAX],
        disks=tuple(one for one in period.disks[:DEVICES_MAX] if _NAME.fullmatch(one.name)),
        nics=tuple(one for one in period.nics[:DEVICES_MAX] if _NAME.fullmatch(one.name)),
    )
    parts: Iterable[Any] = (kept, kept.memory, *kept.vcpus, *kept.disks, *kept.nics)
    figures = [*exits.values(), *(figure for part in parts for figure in _figures(part))]
    good = all(math.isfinite(figure) and 0 <= figure <= _FIGURE_MAX for figure in figures) and 0 < kept.began_at < kept.ended_at
    return kept if good else None


def _figures(part: VmRates | VcpuRates | DiskRates | NicRates) -> list[float]:
    return [value for one in fields(part) if isinstance(value := getattr(part, one.name), float)]
