"""Looks now and then at how fast each guest writes to its memory, so that a move of it can be foretold; never while it moves.

QEMU compares a sample of the guest's pages over a moment or some seconds, which costs the guest nothing that it could notice. Still one guest is looked at at a time.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.model.errors import HouyiError
from houyi.model.ids import VmId
from houyi.model.migration import GuestSample
from houyi.model.vm import VmState

log = get_log(__name__)

EVERY_SECONDS = 300.0
"""Between two looks at the same guest: the server keeps 64, which then tell of the last five hours."""
TURN_SECONDS = 5.0
"""Between two looks at all: a host of a hundred guests spends a fifth of its time with one of them sampled."""
SETTLED_SECONDS = 30.0
"""A guest that has just been started, or has just arrived, is not as it will be."""
SPANS = (0.25, 4.0)
"""How long is compared, in turn: so short that a guest that writes fast has not written to everything by then, and one that tells by how much fewer new pages it was whether the guest writes to the same again."""

Sample = Callable[[VmId, float], Awaitable[GuestSample]]
"""(VM, seconds) -> what was seen in them. :raise HouyiError: it cannot be told now."""


class Sampler:
    def __init__(self, sample: Sample, ledger: Ledger, reports: Reports, clock: Clock) -> None:
        self._sample = sample
        self._ledger = ledger
        self._reports = reports
        self._clock = clock
        self._due: dict[VmId, float] = {}
        self._looks: dict[VmId, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(TURN_SECONDS)
            try:
                await self.turn()
            except Exception:  # whatever it is: forecasts get worse, nothing else
                log.exception("sampling_failed")

    async def turn(self) -> None:
        """Look at the guest that has waited longest, if one is due."""
        now = self._clock.monotonic()
        resting = set(self._resting())
        self._due = {vm_id: self._due.get(vm_id, now + SETTLED_SECONDS) for vm_id in resting}
        self._looks = {vm_id: looks for vm_id, looks in self._looks.items() if vm_id in resting}
        waiting = sorted((at, vm_id) for vm_id, at in self._due.items() if at <= now)
        if waiting:
            await self._look(waiting[0][1])

    def _resting(self) -> Iterable[VmId]:
        for vm_id, observed in self._reports.vms.items():
            memory = self._ledger.memories.get(vm_id)
            if observed.state is VmState.RUNNING and memory is not None and not memory.moving:
                yield vm_id

    async def _look(self, vm_id: VmId) -> None:
        look = self._looks.get(vm_id, 0)
        self._due[vm_id] = self._clock.monotonic() + EVERY_SECONDS
        try:
            sample = await self._sample(vm_id, SPANS[look % len(SPANS)])
        except HouyiError as error:
            log.info("guest_not_sampled", vm=vm_id, code=error.code)
            return
        if vm_id in set(self._resting()):  # what was under way when a move began tells of neither
            self._looks[vm_id] = look + 1
            if not look:
                self._due[vm_id] += SETTLED_SECONDS - EVERY_SECONDS  # both spans shall be known soon
            self._reports.samples.put(replace(sample, at=self._clock.now()))
