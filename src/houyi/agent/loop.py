"""One loop a host: whatever happens, every VM is looked at, each by a task of its own, so that a slow step of one holds up no other.

Events only wake it. What no VM needs any more (networks, images) is tidied up beside it.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from houyi.agent.counts import Counts
from houyi.agent.ledger import Ledger
from houyi.agent.moves import Moves
from houyi.agent.reports import Reports
from houyi.agent.rules import PlanVm
from houyi.agent.sight import Sight
from houyi.agent.steps import Steps
from houyi.agent.vm import Parts, ServedVm
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm, ObservedVm, VmState
from houyi.planning import lifecycle
from houyi.planning.lifecycle import Memory, hurt
from houyi.wire.agents import Desired, Happening

log = get_log(__name__)

PARTED_KEPT_SECONDS = 30 * 86400.0
"""How long it is remembered that a VM has left. Nobody orders by what he knew longer ago."""


class Loop:
    """`run()` goes on until cancelled; `take(desired)` is what the link calls."""

    def __init__(
        self,
        ports: Ports,
        ledger: Ledger,
        reports: Reports,
        clock: Clock,
        boot_id: str,
        steps: Steps,
        counts: Counts,
        pass_seconds: float,
        plan: PlanVm = lifecycle.plan,
    ) -> None:
        self._ports = ports
        self._ledger = ledger
        self._reports = reports
        self._clock = clock
        self._steps = steps
        self._counts = counts
        self._pass_seconds = pass_seconds
        self._desired: Mapping[VmId, DesiredVm] = _by_id(ledger.desired)
        self._unwritten: Desired | None = None
        self._served: dict[VmId, ServedVm] = {}
        self._wake, self._untidy = asyncio.Event(), asyncio.Event()
        self._moves: Moves | None = None
        self._parts = Parts(
            desired=self._wanted,
            sight=Sight(ports),
            ledger=ledger,
            steps=steps,
            guests=ports.guests,
            reports=reports,
            clock=clock,
            counts=counts,
            boot_id=boot_id,
            plan=plan,
        )

    def serve_moves(self, moves: Moves) -> None:
        """Who serves the moves of VMs; told of each snapshot and of what happens to VMs. Once, before `run`."""
        self._moves = moves

    async def quiet(self, vm_id: VmId) -> None:
        """Until nothing is under way with a VM."""
        if vm_id in self._served:
            await self._served[vm_id].quiet()

    async def run(self) -> None:
        """Look at everything now, after every event and every period."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(), name="machine-events")
                tasks.create_task(self._tidy(), name="tidy")
                if self._moves is not None and self._ledger.desired is not None:
                    self._moves.take(self._ledger.desired)
                while True:
                    self._wake.clear()
                    self._look_at_all()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._pass_seconds):
                            await self._wake.wait()
        finally:
            if self._moves is not None:
                await self._moves.stop()
            await asyncio.gather(*(served.stop() for served in self._served.values()))

    def take(self, desired: Desired) -> None:
        """A new snapshot: write it down, then act on it. Snapshots come in order. One that cannot be written down is not acted on, and tried again."""
        self._unwritten = desired
        self._write_down()
        self._wake.set()

    def wake(self, *, urgent: bool = False) -> None:
        """Look at everything now; if urgent, also at what waits after a failure (the server or libvirt is back)."""
        if urgent:
            for served in self._served.values():
                served.poke(urgent=True)
        self._wake.set()

    def _wanted(self, vm_id: VmId) -> DesiredVm | None:
        return self._desired.get(vm_id)

    def _write_down(self) -> None:
        desired = self._unwritten
        if desired is None:
            return
        try:
            self._ledger.keep_desired(desired)
        except OSError as error:
            log.error("ledger_unwritable", error=str(error))
            return
        self._unwritten = None
        before, self._desired = self._desired, _by_id(desired)
        if self._moves is not None:
            self._moves.take(desired)
        for vm_id, vm in before.items():
            now = self._desired.get(vm_id)
            if now is None:
                self._withdrawn(vm)
            elif now != vm and vm_id in self._served:
                self._served[vm_id].overtaken()

    def _look_at_all(self) -> None:
        """One pass."""
        self._counts.passes.inc()
        self._write_down()
        for vm_id in self._desired:
            self.serve(vm_id)
        self._untidy.set()

    def serve(self, vm_id: VmId) -> None:
        """Look at a VM, if it is wanted here."""
        if vm_id in self._desired:
            self._served.setdefault(vm_id, ServedVm(vm_id, self._parts)).poke()

    def _withdrawn(self, vm: DesiredVm) -> None:
        """No longer in the snapshot: forgotten if its deletion was asked, else left alone and only remembered (RFD 1, invariant 2)."""
        if vm.deleted:
            self._reports.forget(vm.id)
            self._ledger.forget(vm.id)
            self._served.pop(vm.id, None)
            return
        memory = self._ledger.memories.get(vm.id, Memory())
        if memory.moving or memory.parted_at:
            self._reports.forget(vm.id)  # its new home speaks of it from now on
            self._served.pop(vm.id, None)
        else:
            log.warning("vm_withdrawn_without_deletion", vm=vm.id)

    async def _hear(self) -> None:
        async for event in self._ports.machine.events():
            if event.vm_id is None:
                log.warning("machine_event", kind=event.kind, detail=event.detail)
                self.wake(urgent=event.kind == "connection_back")
                continue
            if event.kind and event.vm_id in self._desired:
                self._reports.happened(Happening(vm_id=event.vm_id, kind=event.kind, detail=event.detail, at=self._clock.now()))
            if event.kind == "memory_failure":
                self._hurt(event.vm_id)
            self.serve(event.vm_id)
            if self._moves is not None:
                self._moves.poke(event.vm_id)

    def _hurt(self, vm_id: VmId) -> None:
        """Written down before anything is done about it."""
        memory = self._ledger.memories.get(vm_id)
        if memory is not None:
            try:
                self._ledger.keep(vm_id, hurt(memory))
            except OSError as error:
                log.error("ledger_unwritable", error=str(error))

    async def _tidy(self) -> None:
        while True:
            await self._untidy.wait()
            self._untidy.clear()
            desired = self._ledger.desired
            if desired is None:
                continue
            self._ledger.forget_parted(self._clock.now() - PARTED_KEPT_SECONDS)
            try:
                await self._steps.tidy(desired, self._ledger.memories)
            except Exception:
                log.exception("tidy_crashed")  # the next pass tries again; VMs are served meanwhile


def _by_id(desired: Desired | None) -> Mapping[VmId, DesiredVm]:
    return {vm.id: vm for vm in desired.vms} if desired else {}


def states(observed: Iterable[ObservedVm]) -> Mapping[VmState, int]:
    """How many VMs are in which state: for metrics and load."""
    counted: dict[VmState, int] = dict.fromkeys(VmState, 0)
    for one in observed:
        counted[one.state] += 1
    return counted
