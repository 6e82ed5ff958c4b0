"""Has the machine's own knobs as the server wishes, and turns those of running VMs that can be turned live. Level-triggered: it looks at what is so, and repeats.

What was there before a knob's first change is in the ledger before that change; what is no longer wished is put back from there, whatever happened in between.
"""

from collections.abc import Callable, Mapping

from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port_tuning import LiveKnobs, Tuner
from houyi.model.errors import HouyiError, Unavailable
from houyi.model.ids import VmId
from houyi.model.tuning import HostTuned, Scope, Settings, Takes, TuningAsk
from houyi.model.vm import DesiredVm, VmState
from houyi.planning.tuning.knobs import KNOBS
from houyi.planning.tuning.resolve import host_settings, in_force

log = get_log(__name__)

TURN_SECONDS = 1.0
"""How often it is looked whether something else is wished."""
LOOK_SECONDS = 60.0
"""How often the machine's knobs are read though nothing else is wished: somebody may have set them by hand, and one that failed may work now."""

_LIVE = tuple(knob for knob in KNOBS if knob.scope is Scope.VM and knob.takes is Takes.LIVE)


class Tuning:
    """`serve(vm_id)` is called when a VM's knobs have been turned, so that what it runs with is read back."""

    def __init__(self, tuner: Tuner, live: LiveKnobs, ledger: Ledger, reports: Reports, clock: Clock, serve: Callable[[VmId], None]) -> None:
        self._tuner, self._live, self._ledger, self._reports, self._clock, self._serve = tuner, live, ledger, reports, clock, serve
        self._done: TuningAsk | None = None
        self._looked_at = float("-inf")
        self._refused: dict[VmId, Settings] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception:
                log.exception("tuning_failed")
            await self._clock.sleep(TURN_SECONDS)

    async def turn(self) -> None:
        """:raise OSError: the ledger cannot be written to: nothing is set that could not be put back."""
        desired = self._ledger.desired
        if desired is None:
            return
        if desired.tuning != self._done or self._clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            await self._tune_host(desired.tuning)
            self._done, self._looked_at = desired.tuning, self._clock.monotonic()
        for vm in desired.vms:
            await self._turn_vm(vm)

    async def _tune_host(self, ask: TuningAsk) -> None:
        problems: dict[str, str] = {}
        has = frozenset(await self._tuner.read())
        settings = host_settings(ask, has)
        wanted = in_force(settings)
        await put_back(self._tuner, self._ledger, [knob for knob in self._ledger.tuned if knob not in wanted], problems)
        for knob, value in wanted.items():
            try:
                if knob not in self._ledger.tuned:
                    self._ledger.keep_tuned(knob, await self._tuner.before(knob), (await self._tuner.read()).get(knob, ""))
                await self._tuner.set(knob, value)
            except HouyiError as error:
                log.warning("knob_not_set", knob=knob, value=value, code=error.code, detail=error.detail)
                problems[knob] = error.detail
        problems |= {one.knob: one.why_not for one in settings if one.why_not and one.knob in ask.knobs}
        before = {knob: record.shown for knob, record in self._ledger.tuned.items()}
        self._reports.tuned.put(HostTuned(values=dict(await self._tuner.read()), before=before, problems=problems))

    async def _turn_vm(self, vm: DesiredVm) -> None:
        """What it runs with is what was read back last; a refusal is not asked for again until something else is wished."""
        seen = self._reports.vms.get(vm.id)
        if seen is None or seen.state not in (VmState.RUNNING, VmState.PAUSED) or vm.id in self._ledger.moving:
            return
        wrong = unturned(vm.tuning, seen.tuned)
        if not wrong or self._refused.get(vm.id) == wrong:
            return
        try:
            await self._live.turn(vm.id, wrong)
        except Unavailable as away:
            log.info("knobs_later", vm=vm.id, code=away.code)
            return
        except HouyiError as error:
            log.warning("knobs_not_turned", vm=vm.id, code=error.code, detail=error.detail)
            self._refused[vm.id] = wrong
            return
        self._refused.pop(vm.id, None)
        self._serve(vm.id)


def unturned(asked: Settings, running: Settings) -> Mapping[str, str]:
    """Live knobs that are not as asked; what is not asked for is as it is without us."""
    return {knob.name: asked.get(knob.name, knob.default) for knob in _LIVE if asked.get(knob.name, knob.default) != running.get(knob.name, knob.default)}


async def put_back(tuner: Tuner, ledger: Ledger, knobs: list[str], problems: dict[str, str]) -> None:
    """Put back what was there before; what fails stays in the ledger. :param problems: filled with knob -> why not."""
    for knob in knobs:
        try:
            await tuner.restore(knob, ledger.tuned[knob].before)
        except HouyiError as error:
            log.warning("knob_not_put_back", knob=knob, code=error.code, detail=error.detail)
            problems[knob] = error.detail
        else:
            ledger.forget_tuned(knob)
