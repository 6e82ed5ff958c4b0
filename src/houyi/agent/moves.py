"""The ends of moves on this host: each has a task of its own that sees, asks `planning.migration.ends` what to do, does it, and says what it saw."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NoReturn

from houyi.agent.attempt import Attempt
from houyi.agent.carry import take_files
from houyi.agent.cold_attempt import ColdAttempt
from houyi.agent.door import Admission, Door
from houyi.agent.ledger import Ledger
from houyi.agent.lines import Lines
from houyi.agent.reports import Reports
from houyi.agent.steps import Steps
from houyi.base.clock import Clock
from houyi.base.log import bound, get_log
from houyi.host.port import Ports
from houyi.model.errors import Conflict, Failed, Forbidden, HouyiError, Problem, Unavailable
from houyi.model.ids import MigrationId, VmId
from houyi.model.migration import DesiredMove, End, Landing, MigrationKind, ObservedMove, Order
from houyi.model.vm import LOCAL, Power
from houyi.planning.lifecycle import PREPARE, SHOWN, Memory, Step
from houyi.planning.migration.ends import EndPlan, Here, MoveMemory, MoveStep, seen_as
from houyi.wire.agents import Desired

log = get_log(__name__)

LOOK_SECONDS = 1.0
"""How often a move is looked at without an event."""
RECOVER_SECONDS = 5.0
"""Between two tries to take up a broken post-copy: half of the guest's pages wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveParts:
    """What all moves of a host share."""

    ports: Ports
    ledger: Ledger
    reports: Reports
    steps: Steps
    door: Door
    lines: Lines
    clock: Clock
    tls_name: str
    """The name in this host's certificate for moves."""
    quiet: Callable[[VmId], Awaitable[None]]
    """Until the lifecycle is not in the middle of anything with the VM."""
    served: Callable[[VmId], None]
    """The lifecycle may look at the VM again."""
    plan_end: Callable[[DesiredMove, Here, MoveMemory], EndPlan]


class Moves:
    def __init__(self, parts: MoveParts) -> None:
        self._parts = parts
        self._served: dict[MigrationId, ServedMove] = {}

    def take(self, desired: Desired) -> None:
        """A new snapshot, which has been written down. What it does not contain any more is forgotten, and holds no VM."""
        wanted = {move.id: move for move in desired.moves}
        for move_id in [one for one in self._served if one not in wanted]:
            self._served.pop(move_id).end()
        for move_id, memory in list(self._parts.ledger.moves.items()):
            if move_id not in wanted:
                if self._is_open(move_id, memory, desired):
                    log.error("move_forgotten_by_server", move=move_id, vm=memory.vm_id)  # an older store was restored? It stays held: another host may have it
                    continue
                unhold(self._parts, move_id, memory.vm_id)
                self._parts.ledger.forget_move(move_id)
                self._parts.reports.forget_move(move_id)
        for move_id, move in wanted.items():
            if move_id not in self._served:
                self._served[move_id] = ServedMove(move, self._parts)
            self._served[move_id].order(move)

    def _is_open(self, move_id: MigrationId, memory: MoveMemory, desired: Desired) -> bool:
        """It was begun here and has neither been released nor cleaned; and the VM is wanted, which the lifecycle would run."""
        held = self._parts.ledger.memories.get(memory.vm_id, Memory()).moving == move_id
        return held and memory.begun and any(vm.id == memory.vm_id for vm in desired.vms)

    def poke(self, vm_id: VmId) -> None:
        """Something happened to this VM."""
        for served in self._served.values():
            if served.vm_id == vm_id:
                served.poke()

    def poke_all(self) -> None:
        for served in self._served.values():
            served.poke()

    async def stop(self) -> None:
        """Stop acting. An attempt that is under way loses its way to the destination, and so ends where it began."""
        await asyncio.gather(*(served.stop() for served in self._served.values()))


def unhold(parts: MoveParts, move_id: MigrationId, vm_id: VmId, given_at: int = 0) -> None:
    """The VM is the lifecycle's again, or, where it is not wanted here, nobody's. :param given_at: the epoch at which another host has it; 0: none."""
    memory = parts.ledger.memories.get(vm_id)
    if memory is None or memory.moving != move_id:
        return
    desired, epoch = parts.ledger.desired, max(memory.epoch, given_at)
    if desired is not None and any(vm.id == vm_id for vm in desired.vms):
        parts.ledger.keep(vm_id, replace(memory, moving=""))
    elif epoch:  # it was here once: what was ordered then must never be done again
        parts.ledger.keep(vm_id, Memory(epoch=epoch, parted_at=parts.clock.now()))
    else:
        parts.ledger.forget(vm_id)
    parts.served(vm_id)


class ServedMove:
    """`poke()` whenever anything may have changed; it always looks at everything, one step at a time."""

    def __init__(self, move: DesiredMove, parts: MoveParts) -> None:
        self._move = move
        self._parts = parts
        self._task: asyncio.Task[None] | None = None
        self._dirty = asyncio.Event()
        self._attempt: Attempt | ColdAttempt | None = None
        self._going = asyncio.Lock()
        self._admitted = self._prepared = False
        self._ended_at = float("-inf")
        """Of the clock's monotonic seconds: when the last attempt of this process did."""
        self._stage, self._progress = "", 0.0
        self._handlers: Mapping[MoveStep, Callable[[], Awaitable[None]]] = {
            MoveStep.HOLD: self._hold,
            MoveStep.PREPARE: self._prepare,
            MoveStep.ADMIT: self._admit,
            MoveStep.SEND: partial(self._begin, again=False),
            MoveStep.RECOVER: partial(self._begin, again=True),
            MoveStep.ABORT: self._abort,
            MoveStep.OVER: _nothing,
            MoveStep.GO: self._go,
            MoveStep.WITHDRAWN: _nothing,
            MoveStep.SHUT: self._shut,
            MoveStep.RESUME: lambda: parts.ports.machine.resume(self.vm_id),
            MoveStep.DESTROY: lambda: parts.ports.machine.undefine(self.vm_id),
            MoveStep.REMOVE: lambda: parts.ports.disks.leave_vm(self.vm_id),
            MoveStep.UNHOLD: self._unhold,
        }

    @property
    def vm_id(self) -> VmId:
        return self._move.vm.id

    def order(self, move: DesiredMove) -> None:
        self._move = move
        self.poke()

    def poke(self) -> None:
        self._dirty.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name=f"move-{self._move.id}")

    def end(self) -> None:
        """It is told nothing of this move any more. What still tries to say GO has nobody left to say it to."""
        for task in (self._task, self._attempt.task if self._attempt else None):
            if task is not None:
                task.cancel()

    async def stop(self) -> None:
        tasks = [task for task in (self._task, self._attempt.task if self._attempt else None) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        with bound(move=self._move.id, vm=self.vm_id):
            while True:
                self._dirty.clear()
                try:
                    while await self._look():
                        pass
                except (
                    Unavailable,
                    OSError,
                ) as error:  # libvirt is away, or the ledger cannot be written: nothing may be done that could not be seen or remembered
                    log.info("move_later", error=str(error))
                except Exception:
                    log.exception("move_pass_crashed")
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._dirty.wait()
                except TimeoutError:
                    pass

    async def _look(self) -> bool:
        """One look and one step; whether there was something to do. :raise Unavailable: :raise OSError: look again later."""
        here = await self._here()
        move = self._move
        plan = self._parts.plan_end(move, here, self._memory())
        self._parts.ledger.keep_move(move.id, plan.memory)
        self._report(here, plan)
        if not plan.steps:
            return False
        step = plan.steps[0]
        try:
            await self._handlers[step]()
        except Unavailable:
            raise
        except HouyiError as error:
            log.warning("move_step_failed", step=step.value, code=error.code, detail=error.detail)
            if step in (MoveStep.PREPARE, MoveStep.ADMIT):
                self._remember(error=error.problem)
            elif step is not MoveStep.ABORT:
                raise Unavailable(error.code, error.detail) from error  # it has to work in the end: again later
        return step is not MoveStep.ABORT  # what was told to stop takes its time; that it has is an event, or seen by the next look

    async def _here(self) -> Here:
        presence = (await self._parts.ports.mover.presences([self.vm_id]))[self.vm_id]
        held = self._parts.ledger.memories.get(self.vm_id, Memory()).moving == self._move.id
        return Here(
            presence=seen_as(presence, self._move.order, self._memory()),
            files=self.vm_id in await self._parts.ports.disks.vms(),
            held=held,
            running=self._attempt is not None and not self._attempt.task.done(),
            admitted=self._admitted,
            prepared=self._prepared,
            rested=self._parts.clock.monotonic() >= self._ended_at + RECOVER_SECONDS,
        )

    def _memory(self) -> MoveMemory:
        return self._parts.ledger.moves.get(self._move.id) or MoveMemory(vm_id=self.vm_id)

    def _remember(self, *, error: Problem | None = None, landing: Landing | None = None) -> None:
        memory = self._memory()
        self._parts.ledger.keep_move(self._move.id, replace(memory, error=error or memory.error, landing=landing or memory.landing))

    async def _hold(self) -> None:
        memory = self._parts.ledger.memories.get(self.vm_id, Memory())
        self._parts.ledger.keep(self.vm_id, replace(memory, moving=self._move.id))
        await self._parts.quiet(self.vm_id)

    async def _unhold(self) -> None:
        unhold(self._parts, self._move.id, self.vm_id, self._move.vm.epoch if self._move.order is Order.CLEAN else 0)

    async def _prepare(self) -> None:
        vm = self._move.vm
        for step in PREPARE:
            self._stage, self._progress = SHOWN[step][1], SHOWN[step][2]
            self._told_stage()
            if step is Step.CREATE_DISK and vm.spec.storage != LOCAL:
                await self._adopt()
            else:
                await self._parts.steps.run(step, vm, lambda _share: None)
        self._prepared = True

    async def _adopt(self) -> None:
        """A disk that is shared is never made by a move. :raise Failed: `storage_differs`: a guest runs on it elsewhere, and it is not to be seen here."""
        vm = self._move.vm
        if not await self._parts.ports.disks.adopt_disk(vm) and self._move.kind is MigrationKind.LIVE:
            raise Failed(
                "storage_differs", f"the disk of VM {vm.name} is not in shared folder {vm.spec.storage!r} here: mount on both hosts what the other has"
            )

    async def _admit(self) -> None:
        move = self._move
        parts, live = self._parts, move.kind is MigrationKind.LIVE
        xml = await parts.ports.mover.landing_xml(move.vm) if live else ""
        landing = Landing(address="", port=0, tls_name=parts.tls_name, domain_xml=xml, copies_disk=move.vm.spec.storage == LOCAL)
        libvirt = partial(parts.ports.passages.open, move.vm.id, landing, move.terms)
        files = partial(take_files, carrier=parts.ports.carrier, vm=move.vm)
        admission = Admission(move=move.id, peer=move.peer, libvirt=libvirt, files=refused, go=self._go, broke=self._broke)
        if not live:
            admission = replace(admission, libvirt=refused, files=files, go=refused)
        address, port = await parts.door.admit(admission)
        self._remember(landing=replace(landing, address=address, port=port))
        self._admitted, self._stage, self._progress = True, "ready", 1.0

    async def _shut(self) -> None:
        await self._parts.door.shut(self._move.id)
        self._admitted = False

    async def _go(self) -> None:
        """The guest has been given up at the source. Written down first: from then on it is known that it may have run here.

        :raise Forbidden: `withdrawn`. :raise Conflict: `not_arrived`.
        """
        async with self._going:
            memory = self._memory()
            if memory.withdrawn:
                raise Forbidden("withdrawn", "the move was withdrawn: what had come is not run any more")
            self._parts.ledger.keep_move(self._move.id, replace(memory, went=True))
            try:
                await self._parts.ports.mover.go(self.vm_id, run=self._move.vm.power is Power.RUNNING)
            except Conflict:  # there is nothing that could have run
                self._parts.ledger.keep_move(self._move.id, replace(self._memory(), went=memory.went))
                raise
        self._dirty.set()

    def _broke(self, error: HouyiError) -> None:
        try:
            self._parts.ledger.keep_move(self._move.id, replace(self._memory(), broken=error.problem))
        except OSError as unwritable:
            log.error("ledger_unwritable", error=str(unwritable))
        self._dirty.set()

    async def _begin(self, *, again: bool) -> None:
        landing = self._move.landing
        if landing is None:
            raise Failed("landing_missing", "the destination has not told where the VM is to land")
        parts = self._parts
        if self._move.kind is MigrationKind.COLD:
            self._attempt = ColdAttempt(self._move, landing, parts.ports, parts.door, parts.clock, ended=self._ended)
        else:
            self._attempt = Attempt(
                self._move, landing, parts.ports, parts.door, parts.lines, parts.clock, again=again, given_up=self._give_up, ended=self._ended
            )

    def _give_up(self) -> None:
        self._parts.ledger.keep_move(self._move.id, replace(self._memory(), given_up=True))

    async def _abort(self) -> None:
        """What we are with ourselves, or what libvirt still does of an attempt whose agent has died."""
        if self._attempt is not None and not self._attempt.task.done():
            await self._attempt.abort()
        else:
            await self._parts.ports.mover.abort(self.vm_id)

    def _ended(self, attempt: Attempt | ColdAttempt) -> None:
        """It is over: written down, then told."""
        self._ended_at = self._parts.clock.monotonic()
        memory = self._memory()
        kept = replace(memory, over=True, error=attempt.problem, figures=attempt.figures, mode=attempt.mode, gap_ms=attempt.gap_ms)
        try:
            self._parts.ledger.keep_move(self._move.id, kept)
        except OSError as error:
            log.error("ledger_unwritable", error=str(error))  # the next look finds an attempt that nobody is with
        self._dirty.set()

    def _told_stage(self) -> None:
        before = self._parts.reports.moves.get(self._move.id)
        if before is not None:
            self._parts.reports.put_move(replace(before, stage=self._stage, progress=round(self._progress, 2)))

    def _report(self, here: Here, plan: EndPlan) -> None:
        move, memory, attempt = self._move, plan.memory, self._attempt
        source = move.end is End.SOURCE
        live = attempt if attempt is not None and here.running else None
        self._parts.reports.put_move(
            ObservedMove(
                id=move.id,
                end=move.end,
                presence=here.presence,
                order=move.order,
                busy=bool(plan.steps) or here.running,
                ready=not source and here.prepared and here.admitted and memory.landing is not None and not plan.steps,
                over=source and memory.over,
                went=memory.went,
                clean=plan.clean,
                landing=None if source else memory.landing,
                stage=live.stage if live else self._stage,
                progress=round(live.progress if live else self._progress, 2),
                figures=live.figures if live else memory.figures,
                mode=memory.mode,
                gap_ms=memory.gap_ms,
                line=self._parts.lines.to(move.peer) if source else None,
                error=memory.error or (None if memory.went else memory.broken),
                at=self._parts.clock.now(),
            )
        )


async def refused(*_: object) -> NoReturn:
    """Whoever knocks for what this move does not need. :raise Forbidden: `door_shut`."""
    raise Forbidden("door_shut", "this door is open for another kind of move: are both agents of the same version?")


async def _nothing() -> None:
    """It was done by writing it down."""
