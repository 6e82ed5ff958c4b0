"""One VM on this host: sees, asks `planning.lifecycle` what to do, does it, says what it saw; at most one task at a time, so its steps never overlap."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from houyi.agent.counts import Counts
from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.agent.rules import PlanVm
from houyi.agent.sight import Sight
from houyi.agent.steps import Steps
from houyi.base.clock import Clock
from houyi.base.log import bound, get_log
from houyi.host.port import DomainSeen, Guests
from houyi.model.errors import Failed, HouyiError, Problem, Unavailable
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm, GuestAgent, ObservedVm, VmState, may_follow
from houyi.planning.lifecycle import LIVE, ONCE, SHOWN, WATCH_SECONDS, Memory, Plan, Seen, Step, done, failed
from houyi.wire.agents import Happening

log = get_log(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries of what failed for now (libvirt is away, the image is not there yet); the last one stays."""
GUEST_SECONDS = 15.0
"""How often the guest agent is asked for the guest's addresses once it has answered."""
GUEST_ASK_SECONDS = (1.0, 1.0, 1.0, 2.0, 4.0, 8.0, GUEST_SECONDS)
"""How often while it has none to tell: they appear a moment after the agent does, or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all VMs of a host share."""

    desired: Callable[[VmId], DesiredVm | None]
    sight: Sight
    ledger: Ledger
    steps: Steps
    guests: Guests
    reports: Reports
    clock: Clock
    counts: Counts
    boot_id: str
    plan: PlanVm


class ServedVm:
    """`poke()` whenever anything may have changed; it always looks at everything."""

    def __init__(self, vm_id: VmId, parts: Parts) -> None:
        self._id = vm_id
        self._parts = parts
        self._task: asyncio.Task[None] | None = None
        self._dirty = False
        self._tries = 0
        self._urgent = False
        self._not_before = 0.0
        """Of the event loop's clock: nothing but what is urgent is heard before."""
        self._timer: asyncio.TimerHandle | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._addresses: tuple[str, ...] = ()
        self._asks = 0
        self._asked_at = float("-inf")
        self._changed_at = 0.0

    def poke(self, *, urgent: bool = False) -> None:
        """Have the task look at this VM; one that is at work already looks once more. What failed for now waits out its delay, unless it is urgent."""
        if not urgent and asyncio.get_running_loop().time() < self._not_before:
            return
        self._not_before = 0.0
        self._dirty = True
        self._urgent = self._urgent or urgent
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name=f"vm-{self._id}")

    def overtaken(self) -> None:
        """A newer wish has come: look at once, and do not finish to wait for an image that may no longer be wanted."""
        if self._fetch is not None:
            self._fetch.cancel()
        self.poke(urgent=True)

    async def quiet(self) -> None:
        """Until it is not in the middle of anything."""
        while self._task is not None and not self._task.done() and self._task is not asyncio.current_task():
            await asyncio.wait({self._task})

    async def stop(self) -> None:
        """Stop acting; the VM goes on."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        with bound(vm=self._id):
            while self._dirty:
                self._dirty = self._urgent = False
                if self._timer is not None:
                    self._timer.cancel()  # this is the look that it was for
                try:
                    await self._look()
                    self._tries = 0
                except Unavailable as error:
                    delay = RETRY_SECONDS[min(self._tries, len(RETRY_SECONDS) - 1)]
                    self._tries += 1
                    log.info("vm_later", code=error.code, detail=error.detail, seconds=delay)
                    self._say_why(error)
                    self._later(delay)
                except OSError as error:  # the ledger cannot be written to: nothing may be done that could not be remembered
                    log.error("ledger_unwritable", error=str(error))
                    self._later(RETRY_SECONDS[-1])
                except Exception:
                    log.exception("vm_pass_crashed")
                    self._later(RETRY_SECONDS[-1])

    def _later(self, seconds: float) -> None:
        """After a failure: events of the machine, which the try itself may have caused, do not make it sooner."""
        self._dirty = self._urgent
        self._not_before = 0.0 if self._urgent else asyncio.get_running_loop().time() + seconds
        self._again(seconds)

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, lambda: self.poke(urgent=True))

    async def _look(self) -> None:
        """See, plan, and do the steps; again after the steps, until there is nothing to do."""
        parts, before = self._parts, None
        while True:
            sighting = await parts.sight.now()
            desired = parts.desired(self._id)
            self._urgent = False  # the wish that was urgent is this one
            if desired is None:
                return
            domain = sighting.domains.get(self._id)
            seen = _seen(domain, self._id in sighting.files)
            answer = parts.plan(desired, seen, self._memory(), boot_id=parts.boot_id, now=parts.clock.now())
            parts.ledger.keep(self._id, answer.memory)
            if answer.gone:
                parts.reports.gone(self._id)
                return
            if domain is None or domain.state is not VmState.RUNNING or domain.guest_agent is not GuestAgent.CONNECTED:
                self._addresses, self._asks = (), 0
            self._report(desired, domain, answer)
            if not answer.steps:
                await self._rest(desired, domain, answer)
                return
            if (desired.generation, answer.steps) == before:  # they worked, and nothing came of it: not again in the same breath
                self._again(WATCH_SECONDS)
                return
            before = (desired.generation, answer.steps)
            await self._do(desired, seen, domain, answer)

    async def _do(self, desired: DesiredVm, seen: Seen, domain: DomainSeen | None, answer: Plan) -> None:
        """Run the steps of a plan as far as they go. :raise Unavailable: try again later."""
        for step in answer.steps:
            if self._parts.desired(self._id) != desired:
                return  # overtaken: plan again
            try:
                worked = await self._step(step, desired, domain, answer)
            except Unavailable as error:
                if step not in ONCE:
                    raise
                self._failed(step, desired, seen, domain, answer, error.problem)
                return
            except HouyiError as error:
                self._failed(step, desired, seen, domain, answer, error.problem)
                return
            except OSError as error:
                self._failed(step, desired, seen, domain, answer, Failed("host_io_failed", f"{SHOWN[step][1]}: {error}").problem)
                return
            if not worked:
                return
            before = self._memory()
            memory = done(step, desired, before, boot_id=self._parts.boot_id, now=self._parts.clock.now())
            self._parts.ledger.keep(self._id, memory)
            if memory.restarts > before.restarts:
                detail = f"restart {memory.restarts}, as its policies say"
                self._parts.reports.happened(Happening(vm_id=self._id, kind="restarted", detail=detail, at=self._parts.clock.now()))

    async def _step(self, step: Step, desired: DesiredVm, domain: DomainSeen | None, answer: Plan) -> bool:
        """False: a newer wish has overtaken it. :raise HouyiError: :raise OSError: it did not work."""
        state, stage, progress = SHOWN[step]
        self._report(desired, domain, answer, state=state, stage=stage, progress=progress)

        def tell(share: float) -> None:
            self._report(desired, domain, answer, state=state, stage=stage, progress=progress + 0.5 * share)

        with self._parts.counts.step(step.value):
            if step is not Step.FETCH_IMAGE:
                await self._parts.steps.run(step, desired, tell)
                return True
            self._fetch = asyncio.create_task(self._parts.steps.run(step, desired, tell), name=f"fetch-for-{self._id}")
            try:
                await asyncio.wait({self._fetch})
                if self._fetch.cancelled():
                    return False
                self._fetch.result()
            finally:
                self._fetch.cancel()
                self._fetch = None
        return True

    def _failed(self, step: Step, desired: DesiredVm, seen: Seen, domain: DomainSeen | None, answer: Plan, problem: Problem) -> None:
        """Remember it, and plan again. :raise Unavailable: a deletion is tried again later, since nobody can wish for it anew."""
        log.warning("step_failed", step=step.value, code=problem.code, detail=problem.detail)
        self._parts.counts.failures.labels(step.value, problem.code).inc()
        memory = failed(step, desired, seen, self._memory(), problem, boot_id=self._parts.boot_id)
        self._parts.ledger.keep(self._id, memory)
        if desired.deleted:
            self._report(desired, domain, answer)
            raise Unavailable(problem.code, problem.detail)

    async def _rest(self, desired: DesiredVm, domain: DomainSeen | None, answer: Plan) -> None:
        """Nothing to do: learn the guest's addresses, and look again when it is time."""
        waits = [] if answer.look_again_seconds is None else [answer.look_again_seconds]
        if domain is not None and domain.state is VmState.RUNNING and domain.guest_agent is GuestAgent.CONNECTED:
            if self._parts.clock.monotonic() - self._asked_at >= self._ask_seconds() * 0.9:
                await self._ask_guest()
                self._report(desired, domain, answer)
            waits.append(self._ask_seconds())
        if waits:
            self._again(min(waits))

    def _ask_seconds(self) -> float:
        return GUEST_SECONDS if self._addresses else GUEST_ASK_SECONDS[min(self._asks, len(GUEST_ASK_SECONDS) - 1)]

    async def _ask_guest(self) -> None:
        self._asked_at = self._parts.clock.monotonic()
        self._asks += 1
        try:
            self._addresses = await self._parts.guests.addresses(self._id)
        except HouyiError as error:
            log.debug("guest_silent", code=error.code)

    def _memory(self) -> Memory:
        return self._parts.ledger.memories.get(self._id, Memory())

    def _say_why(self, error: Unavailable) -> None:
        before = self._parts.reports.vms.get(self._id)
        if before is not None:
            self._parts.reports.put(replace(before, stage=f"waiting: {error.detail}"))

    def _report(
        self, desired: DesiredVm, domain: DomainSeen | None, answer: Plan, *, state: VmState | None = None, stage: str = "", progress: float = 0.0
    ) -> None:
        memory = self._memory()
        before = self._parts.reports.vms.get(self._id)
        shown = state or answer.state
        if before is None or before.state is not shown:
            self._changed_at = self._parts.clock.now()
        if before is not None and answer.refused is None and not may_follow(before.state, shown):
            log.error("unlawful_transition", before=before.state.value, after=shown.value)  # a bug; what is so is said all the same
            self._parts.counts.unlawful.labels(before.state.value, shown.value).inc()
        observed = ObservedVm(
            id=self._id,
            epoch=memory.epoch,
            generation=memory.generation,
            state=shown,
            reason=answer.reason,
            stage=stage,
            progress=round(progress, 2),
            error=answer.refused or memory.error,
            error_generation=desired.generation if answer.refused else memory.error_generation,
            restarts=memory.restarts,
            changed_at=self._changed_at,
        )
        if domain is not None and domain.state in LIVE:
            observed = replace(
                observed,
                accelerator=domain.accelerator,
                cpu_features=domain.cpu_features,
                tuned=domain.tuned,
                guest_agent=domain.guest_agent,
                guest_addresses=self._addresses,
                started_at=domain.started_at,
            )
        self._parts.reports.put(observed)


def _seen(domain: DomainSeen | None, files: bool) -> Seen:
    if domain is None:
        return Seen(files=files)
    return Seen(state=domain.state, reason=domain.reason, files=files, epoch=domain.epoch)
