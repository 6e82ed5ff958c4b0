"""Looks at the machine now and then, for the host's report: settings of the kernel change without a restart of anything."""

from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Probe

log = get_log(__name__)

LOOK_SECONDS = 600.0
"""Between two looks: each takes some milliseconds, and QEMU's list of devices a tenth of a second."""


class Survey:
    def __init__(self, probe: Probe, reports: Reports, clock: Clock) -> None:
        self._probe = probe
        self._reports = reports
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception:  # whatever it is: the report is older, nothing else
                log.exception("survey_failed")
            await self._clock.sleep(LOOK_SECONDS)

    async def turn(self) -> None:
        self._reports.traits.put(await self._probe.traits())
