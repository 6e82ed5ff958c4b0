"""One loop a host: sees, asks `planning.lifecycle` what to do, does it, says what it saw. Events only wake it; it always looks at everything.

Each VM is served by at most one task at a time, so its steps never overlap, while a slow step of one VM holds up no other.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from houyi.agent.counts import Counts
from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.agent.steps import Steps
from houyi.base.clock import Clock
from houyi.base.log import bound, get_log
from houyi.host.port import DomainSeen, Ports
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm, GuestAgent, ObservedVm, VmState
from houyi.planning.lifecycle import SHOWN, Memory, Plan, Seen, Step, done, failed, plan
from houyi.wire.agents import Desired, Happening

log = get_log(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries of what failed for now (libvirt is away, the image is not there yet); the last one stays."""
GUEST_SECONDS = 15.0
"""How often the guest agent is asked for the guest's addresses once it has answered."""
GUEST_ASK_SECONDS = 1.0
"""How often while it has not: addresses appear a moment after the agent does."""


@dataclass(eq=False, slots=True)
class _Served:
    """One VM's task and what it needs between passes."""

    task: asyncio.Task[None] | None = None
    dirty: bool = False
    tries: int = 0
    timer: asyncio.TimerHandle | None = None
    step: Step | None = None
    step_task: asyncio.Task[None] | None = None
    generation: int = 0
    addresses: tuple[str, ...] = ()
    asked_at: float = 0.0
    changed_at: float = 0.0


class Loop:
    """`run()` goes on until cancelled; `take(desired)` is what the link calls."""

    def __init__(self, ports: Ports, ledger: Ledger, reports: Reports, clock: Clock, boot_id: str, steps: Steps, counts: Counts, pass_seconds: float) -> None:
        self._ports = ports
        self._ledger = ledger
        self._reports = reports
        self._clock = clock
        self._boot_id = boot_id
        self._steps = steps
        self._counts = counts
        self._pass_seconds = pass_seconds
        self._served: dict[VmId, _Served] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look at everything now, after every event and every period."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(), name="machine-events")
                while True:
                    self._wake.clear()
                    await self.look_at_all()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._pass_seconds):
                            await self._wake.wait()
        finally:
            await self._let_go()

    def take(self, desired: Desired) -> None:
        """A new snapshot: write it down, then act on it. Snapshots come in order."""
        before = {vm.id: vm for vm in self._ledger.desired.vms} if self._ledger.desired else {}
        self._ledger.keep_desired(desired)
        now = {vm.id: vm for vm in desired.vms}
        for vm_id, vm in now.items():
            served = self._served.get(vm_id)
            overtaken = served is not None and served.step is Step.FETCH_IMAGE and served.generation < vm.generation
            if overtaken and served is not None and served.step_task is not None:
                served.step_task.cancel()
        for vm_id in before.keys() - now.keys():
            self._withdrawn(before[vm_id])
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def look_at_all(self) -> None:
        """One pass."""
        self._counts.passes.inc()
        desired = self._ledger.desired
        if desired is None:
            return
        for vm in desired.vms:
            self._serve(vm.id)
        try:
            await self._steps.tidy(desired, self._ledger.memories)
        except HouyiError as error:
            log.info("tidy_later", code=error.code, detail=error.detail)

    def _withdrawn(self, vm: DesiredVm) -> None:
        """No longer in the snapshot: forgotten if nothing of it is left here, else kept and only watched (RFD 1, invariant 2)."""
        if vm.deleted:
            self._reports.forget(vm.id)
            self._ledger.forget(vm.id)
            self._served.pop(vm.id, None)
        else:
            log.warning("vm_withdrawn_without_deletion", vm=vm.id)

    async def _hear(self) -> None:
        async for event in self._ports.machine.events():
            if event.vm_id is None:
                log.warning("machine_event", kind=event.kind, detail=event.detail)
                self._wake.set()
                continue
            if event.kind:
                self._reports.happened(Happening(vm_id=event.vm_id, kind=event.kind, detail=event.detail, at=self._clock.now()))
            self._serve(event.vm_id)

    def _desired(self, vm_id: VmId) -> DesiredVm | None:
        desired = self._ledger.desired
        return next((vm for vm in desired.vms if vm.id == vm_id), None) if desired else None

    def _serve(self, vm_id: VmId) -> None:
        """Have a task look at this VM; one that is at work already looks once more."""
        if self._desired(vm_id) is None:
            return
        served = self._served.setdefault(vm_id, _Served())
        served.dirty = True
        if served.task is None or served.task.done():
            served.task = asyncio.create_task(self._work(vm_id, served), name=f"vm-{vm_id}")

    async def _work(self, vm_id: VmId, served: _Served) -> None:
        with bound(vm=vm_id):
            while served.dirty:
                served.dirty = False
                try:
                    await self._look(vm_id, served)
                    served.tries = 0
                except Unavailable as error:
                    delay = RETRY_SECONDS[min(served.tries, len(RETRY_SECONDS) - 1)]
                    served.tries += 1
                    log.info("vm_later", code=error.code, detail=error.detail, seconds=delay)
                    self._again(vm_id, served, delay)
                except Exception:
                    log.exception("vm_pass_crashed")
                    self._again(vm_id, served, RETRY_SECONDS[-1])

    def _again(self, vm_id: VmId, served: _Served, seconds: float) -> None:
        if served.timer is not None:
            served.timer.cancel()
        served.timer = asyncio.get_running_loop().call_later(seconds, self._serve, vm_id)

    async def _look(self, vm_id: VmId, served: _Served) -> None:
        """See, plan, and do the steps; again after the steps, until there is nothing to do."""
        while True:
            desired = self._desired(vm_id)
            if desired is None:
                return
            domain = (await self._ports.machine.observe()).get(vm_id)
            files = vm_id in await self._ports.disks.vms()
            memory = self._ledger.memories.get(vm_id, Memory())
            answer = plan(desired, _seen(domain, files), memory, boot_id=self._boot_id, now=self._clock.now())
            self._ledger.keep(vm_id, answer.memory)
            if answer.gone:
                self._reports.gone(vm_id)
                return
            await self._ask_guest(vm_id, served, domain)
            self._report(desired, domain, answer, served)
            if not answer.steps:
                if answer.look_again_seconds is not None:
                    self._again(vm_id, served, answer.look_again_seconds)
                elif answer.state is VmState.RUNNING and domain is not None and domain.guest_agent is GuestAgent.CONNECTED:
                    self._again(vm_id, served, GUEST_SECONDS if served.addresses else GUEST_ASK_SECONDS)
                return
            if not await self._do(desired, domain, answer, served):
                return

    async def _do(self, desired: DesiredVm, domain: DomainSeen | None, answer: Plan, served: _Served) -> bool:
        """Run the steps of a plan. False: wait for something new. :raise Unavailable: try again later."""
        restarts = answer.memory.restarts
        for step in answer.steps:
            state, stage, progress = SHOWN[step]
            served.step, served.generation = step, desired.generation
            self._report(desired, domain, answer, served, state=state, stage=stage, progress=progress)

            def tell(share: float, stage: str = stage, state: VmState | None = state) -> None:
                self._report(desired, domain, answer, served, state=state, stage=stage, progress=0.1 + 0.5 * share)

            served.step_task = asyncio.create_task(self._steps.run(step, desired, tell), name=f"{step.value}-{desired.id}")
            try:
                with self._counts.step(step.value):
                    await served.step_task
            except asyncio.CancelledError:
                if served.step_task.cancelled() and not _cancelling():
                    return True  # overtaken by a newer wish: plan again
                served.step_task.cancel()
                raise
            except Unavailable:
                raise
            except HouyiError as error:
                log.warning("step_failed", step=step.value, code=error.code, detail=error.detail)
                return self._failed(desired, domain, answer, served, error)
            except OSError as error:
                return self._failed(desired, domain, answer, served, Failed("host_io_failed", f"{SHOWN[step][1]}: {error}"))
            finally:
                served.step = served.step_task = None
            memory = self._ledger.memories.get(desired.id, answer.memory)
            self._ledger.keep(desired.id, done(step, desired, memory, boot_id=self._boot_id, now=self._clock.now()))
            if step in (Step.START, Step.START_PAUSED):
                served.addresses = ()
                if restarts and answer.state in (VmState.CRASHED, VmState.STOPPED):
                    detail = f"restart {restarts} by the policy {desired.spec.restart_policy.value}"
                    self._reports.happened(Happening(vm_id=desired.id, kind="restarted", detail=detail, at=self._clock.now()))
        return True

    def _failed(self, desired: DesiredVm, domain: DomainSeen | None, answer: Plan, served: _Served, error: HouyiError) -> bool:
        """Write it down and plan again; only a deletion is tried again by itself, since nobody can wish for it anew.

        :raise Unavailable: that deletion, later.
        """
        self._ledger.keep(desired.id, failed(desired, self._ledger.memories.get(desired.id, answer.memory), error.problem))
        if not desired.deleted:
            return True
        self._report(desired, domain, answer, served)
        raise Unavailable(error.code, error.detail) from error

    async def _ask_guest(self, vm_id: VmId, served: _Served, domain: DomainSeen | None) -> None:
        if domain is None or domain.state is not VmState.RUNNING or domain.guest_agent is not GuestAgent.CONNECTED:
            served.addresses = ()
            return
        now = self._clock.monotonic()
        if now - served.asked_at < (GUEST_SECONDS if served.addresses else GUEST_ASK_SECONDS * 0.9):
            return
        served.asked_at = now
        try:
            served.addresses = await self._ports.guests.addresses(vm_id)
        except HouyiError as error:
            log.debug("guest_silent", code=error.code)

    def _report(
        self,
        desired: DesiredVm,
        domain: DomainSeen | None,
        answer: Plan,
        served: _Served,
        *,
        state: VmState | None = None,
        stage: str = "",
        progress: float = 0.0,
    ) -> None:
        memory = self._ledger.memories.get(desired.id, answer.memory)
        before = self._reports.vms.get(desired.id)
        shown = state or answer.state
        if before is None or before.state is not shown:
            served.changed_at = self._clock.now()
        observed = ObservedVm(
            id=desired.id,
            epoch=memory.epoch,
            generation=memory.generation,
            state=shown,
            reason=answer.reason,
            stage=stage,
            progress=round(progress, 2),
            error=answer.refused or memory.error,
            error_generation=desired.generation if answer.refused else memory.error_generation,
            restarts=memory.restarts,
            changed_at=served.changed_at,
        )
        if domain is not None and domain.state in (VmState.RUNNING, VmState.PAUSED, VmState.STOPPING):
            observed = replace(
                observed,
                accelerator=domain.accelerator,
                guest_agent=domain.guest_agent,
                guest_addresses=served.addresses,
                started_at=domain.started_at,
            )
        self._reports.put(observed)

    async def _let_go(self) -> None:
        """Stop acting; VMs go on."""
        tasks = [served.task for served in self._served.values() if served.task is not None]
        for served in self._served.values():
            if served.timer is not None:
                served.timer.cancel()
            if served.step_task is not None:
                served.step_task.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _seen(domain: DomainSeen | None, files: bool) -> Seen:
    if domain is None:
        return Seen(files=files)
    return Seen(state=domain.state, reason=domain.reason, files=files, epoch=domain.epoch)


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def states(observed: Iterable[ObservedVm]) -> Mapping[VmState, int]:
    """How many VMs are in which state: for metrics and load."""
    counted: dict[VmState, int] = dict.fromkeys(VmState, 0)
    for one in observed:
        counted[one.state] += 1
    return counted
