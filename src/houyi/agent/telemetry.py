"""Counts what the VMs of this host do: one look at all of them every period, of which the server is told the rates, never the counters.

Looks fall on whole multiples of the period by the wall clock, so that the server's ring has one place for each.
"""

from collections.abc import Mapping
from types import MappingProxyType

from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.measures import Telemetry
from houyi.model.errors import HouyiError
from houyi.model.ids import VmId
from houyi.model.telemetry import VmCounters
from houyi.planning.telemetry import rates

log = get_log(__name__)


class Telemeter:
    def __init__(self, telemetry: Telemetry, reports: Reports, clock: Clock, seconds: float) -> None:
        """:param seconds: between two looks."""
        self._telemetry, self._reports, self._clock, self._seconds = telemetry, reports, clock, seconds
        self._last: dict[VmId, VmCounters] = {}
        self._pressure: Mapping[str, float] = {}

    @property
    def pressure(self) -> Mapping[str, float]:
        """As the port says it, at the last look."""
        return self._pressure

    @property
    def readings(self) -> Mapping[VmId, VmCounters]:
        """The newest whole one of each VM that runs here."""
        return MappingProxyType(self._last)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except HouyiError as error:
                log.info("not_counted", code=error.code)
            except Exception:  # whatever it is: figures are missing, nothing else
                log.exception("counting_failed")
            await self._clock.sleep(self._seconds - self._clock.now() % self._seconds)

    async def turn(self) -> None:
        """Look at all, and tell what can be told. :raise Unavailable: libvirt is away: the next period is a longer one."""
        self._pressure = await self._telemetry.pressure()
        readings = await self._telemetry.counters()
        kept: dict[VmId, VmCounters] = {}
        for vm_id, now in readings.items():
            before = self._last.get(vm_id)
            found = rates(before, now) if before is not None else None
            if found is not None:
                self._reports.rates.put(found)
            if now.whole:
                kept[vm_id] = now
            elif before is not None and before.run == now.run:
                kept[vm_id] = before
        self._last = kept
