"""Makes the runs of experiments that this host is asked for: each once, measured from its beginning to its end.

It is written down before it begins. A trial that was begun and of which nothing is known (the agent was restarted meanwhile) is void, never begun again: what it
started in the guest may still be running. One that is no longer asked for is stopped.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.agent.tuning import unturned
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.measures import Telemetry, Tracing
from houyi.host.port import Guests
from houyi.model.errors import Failed, HouyiError, Problem
from houyi.model.exits import TRACE_SECONDS_MAX
from houyi.model.experiment import DesiredTrial, ObservedTrial
from houyi.model.ids import ExperimentId
from houyi.model.telemetry import VmCounters
from houyi.model.vm import VmState
from houyi.planning.telemetry import flat
from houyi.planning.tuning.measures import words_of

log = get_log(__name__)

TURN_SECONDS = 0.5
"""How often it is looked whether something else is asked for: it adds to the time between runs only."""
WHOLE_TRIES, WHOLE_SECONDS = 10, 0.3
"""libvirt is busy with a VM for moments: a reading that is not whole is taken again."""
TRACE_SECONDS = 2.0
"""Exits by reason are counted in pieces of this long, since it is not known when a workload ends: the last piece, which it breaks off, is lost."""
WORDS_MAX = 300
"""Of what a failed workload said."""
TURN_TRIES = 20
"""Looks, half a second apart, whether the knobs that are turned live are read back as they are asked."""


@dataclass(slots=True)
class _Traced:
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def over(self, seconds: float) -> dict[str, float]:
        """As many as there would be in so many seconds at the same rate."""
        return {f"reason:{name}": count * seconds / self.seconds for name, count in self.counts.items()} if self.seconds > 0 else {}


class Trials:
    def __init__(self, guests: Guests, telemetry: Telemetry, tracing: Tracing, ledger: Ledger, reports: Reports, clock: Clock) -> None:
        self._guests = guests
        self._telemetry = telemetry
        self._tracing = tracing
        self._ledger = ledger
        self._reports = reports
        self._clock = clock
        self._under_way: dict[ExperimentId, tuple[int, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    self.turn()
                except OSError as error:  # the ledger cannot be written: nothing is begun, and it is tried again
                    log.error("trial_not_begun", error=str(error))
                await self._clock.sleep(TURN_SECONDS)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """What is under way ends; it is void then."""
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def turn(self) -> None:
        """Begin what is asked for and was not begun; stop what is not asked for any more. :raise OSError: the ledger."""
        desired = self._ledger.desired
        if desired is None:
            return
        asked = {trial.experiment_id: trial for trial in desired.trials}
        for experiment_id, (number, task) in list(self._under_way.items()):
            if task.done() or experiment_id not in asked or asked[experiment_id].number != number:
                task.cancel()
                del self._under_way[experiment_id]
        for experiment_id in [one for one in (*self._reports.trials, *self._ledger.trials) if one not in asked]:
            self._reports.forget_trial(experiment_id)
            self._ledger.forget_trial(experiment_id)
        for trial in asked.values():
            self._begin(trial)

    def _begin(self, trial: DesiredTrial) -> None:
        told = self._reports.trials.get(trial.experiment_id)
        if trial.experiment_id in self._under_way or (told is not None and told.number == trial.number):
            return
        if self._ledger.trials.get(trial.experiment_id, 0) >= trial.number:
            self._reports.put_trial(_void(trial, "the host's agent was restarted meanwhile"))
            return
        self._ledger.keep_trial(trial.experiment_id, trial.number)
        self._under_way[trial.experiment_id] = (trial.number, asyncio.create_task(self._make(trial), name=f"trial-{trial.vm_id}"))

    async def _make(self, trial: DesiredTrial) -> None:
        try:
            made = await self._measured(trial)
        except HouyiError as error:
            made = replace(_void(trial, ""), error=error.problem) if isinstance(error, Failed) else _void(trial, error.detail)
        except Exception:
            log.exception("trial_crashed", experiment=trial.experiment_id)
            made = replace(_void(trial, ""), error=Problem("trial_crashed", "the host's agent failed at this run: see its log"))
        log.info("trial", experiment=trial.experiment_id, number=trial.number, seconds=round(made.seconds, 3), void=made.void)
        self._reports.put_trial(made)

    async def _measured(self, trial: DesiredTrial) -> ObservedTrial:
        """:raise Failed: the workload cannot be run or failed. :raise HouyiError: it was disturbed."""
        if why := self._disturbed(trial):
            return _void(trial, why)
        await self._turned(trial)
        before = await self._whole(trial)
        said: Mapping[str, float] = {}
        async with self._traced(trial) as traced:
            if trial.workload.argv:
                said = await self._worked(trial)
            else:
                await self._clock.sleep(trial.workload.seconds)
        after = await self._whole(trial)
        if before.run != after.run:
            return _void(trial, "the guest was started again meanwhile")
        if why := self._disturbed(trial):
            return _void(trial, why)
        began, ended = flat(before), flat(after)
        counted = {name: ended[name] - count for name, count in began.items() if ended.get(name, -1.0) >= count}
        seconds = after.ticks_seconds - before.ticks_seconds
        return replace(_void(trial, ""), seconds=seconds, counted={**counted, **traced.over(seconds), "vcpus": float(len(after.vcpus))}, said=said)

    @asynccontextmanager
    async def _traced(self, trial: DesiredTrial) -> AsyncIterator[_Traced]:
        """Exits by reason, while this lasts but at most TRACE_SECONDS_MAX; none where they cannot be told. They explain a verdict, and are no part of it."""
        traced = _Traced()

        async def trace() -> None:
            with suppress(HouyiError):
                while traced.seconds + TRACE_SECONDS <= TRACE_SECONDS_MAX:
                    piece = await self._tracing.profile(trial.vm_id, TRACE_SECONDS)
                    traced.counts.update({name: spent.count for name, spent in piece.reasons.items()})
                    traced.seconds += piece.seconds

        task = asyncio.create_task(trace(), name=f"trace-{trial.vm_id}")
        try:
            yield traced
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _turned(self, trial: DesiredTrial) -> None:
        """Until what is asked of the VM's live knobs is what it is read back to run with. :raise Failed: `knob_not_turned`: that does not come about."""
        wrong: Mapping[str, str] = {}
        for _ in range(TURN_TRIES):
            asked = next((vm.tuning for vm in self._ledger.desired.vms if vm.id == trial.vm_id), {}) if self._ledger.desired is not None else {}
            seen = self._reports.vms.get(trial.vm_id)
            wrong = unturned(asked, seen.tuned if seen is not None else {})
            if not wrong:
                return
            await self._clock.sleep(TURN_SECONDS)
        told = ", ".join(f"{name}={value}" for name, value in wrong.items())
        raise Failed("knob_not_turned", f"the VM does not run with {told} though it is asked to: the agent's log on its host says why")

    async def _worked(self, trial: DesiredTrial) -> Mapping[str, float]:
        ran = await self._guests.run(trial.vm_id, trial.workload.argv, trial.workload.seconds)
        if ran.exit_code:
            words = (ran.complaint or ran.output).strip()[-WORDS_MAX:]
            raise Failed("workload_failed", f"{trial.workload.argv[0]} ended with {ran.exit_code} in the guest{f': {words}' if words else ''}")
        return words_of(ran.output)

    async def _whole(self, trial: DesiredTrial) -> VmCounters:
        reading = await self._telemetry.counters_of(trial.vm_id)
        for _ in range(WHOLE_TRIES):
            if reading.whole:
                break
            await self._clock.sleep(WHOLE_SECONDS)
            reading = await self._telemetry.counters_of(trial.vm_id)
        return reading

    def _disturbed(self, trial: DesiredTrial) -> str:
        """Why the VM is not in a state to be measured; empty: it is."""
        memory, observed = self._ledger.memories.get(trial.vm_id), self._reports.vms.get(trial.vm_id)
        if memory is None or memory.epoch != trial.epoch or memory.moving:
            return "the VM is being moved"
        if observed is None or observed.state is not VmState.RUNNING:
            return "the VM does not run"
        return ""


def _void(trial: DesiredTrial, why: str) -> ObservedTrial:
    return ObservedTrial(experiment_id=trial.experiment_id, number=trial.number, void=why)
