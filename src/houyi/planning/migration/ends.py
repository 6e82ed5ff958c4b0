"""One end of a move, on its host: from the order, what is here and what is remembered, to the next steps. Pure.

Asked again after every step, every event and every restart of the agent. What must not be done twice, and what may not be forgotten, is in MoveMemory, which
is written down *before* the step that it is about: that the VM is held, that an attempt was begun, that the guest went, that it was withdrawn.

    source        hold -> send (once) -> over ;  release: resume what the move has halted | clean: destroy what it has left
    destination   hold -> prepare, admit ;  take: go ;  withdraw: shut, destroy, remove (never after it went)
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import VmId
from houyi.model.migration import DesiredMove, End, Figures, Landing, MigrationKind, MoveMode, Order, Presence
from houyi.model.vm import Power


class MoveStep(StrEnum):
    HOLD = "hold"
    """The lifecycle leaves the VM alone from now on, and has finished what it was doing."""
    PREPARE = "prepare"
    """Image, networks, disk, seed; what the source has to know."""
    ADMIT = "admit"
    """Open the door for this move."""
    SEND = "send"
    """Begin the attempt, and leave it to its task."""
    RECOVER = "recover"
    ABORT = "abort"
    OVER = "over"
    """Nothing of an attempt is under way, or ever will be."""
    GO = "go"
    WITHDRAWN = "withdrawn"
    """Write down that a later GO is refused."""
    SHUT = "shut"
    RESUME = "resume"
    DESTROY = "destroy"
    """The domain, whatever it is doing."""
    REMOVE = "remove"
    """Its files."""
    UNHOLD = "unhold"
    """The lifecycle serves the VM again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveMemory:
    """What is remembered of one move through the agent's own death."""

    vm_id: VmId
    begun: bool = False
    over: bool = False
    given_up: bool = False
    """Source: our libvirt had been told that the guest has arrived, before GO was said: what is here of a guest that its user has paused looks as it did, and is not it."""
    recovered: bool = False
    """A recovery has been tried under the present order: the next one is in a while, since the line may not be back yet."""
    went: bool = False
    withdrawn: bool = False
    order: Order | None = None
    """The newest that was acted on."""
    error: Problem | None = None
    broken: Problem | None = None
    """Destination: why the door ended a connection of the source's libvirt, which can tell nobody why."""
    landing: Landing | None = None
    figures: Figures | None = None
    mode: MoveMode | None = None
    gap_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What is on this host now."""

    presence: Presence
    files: bool
    held: bool
    running: bool = False
    """A task of ours is with the attempt."""
    admitted: bool = False
    prepared: bool = False
    """By this process: after a restart it is done again, which changes nothing."""
    rested: bool = True
    """What was tried last is so long ago that it may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndPlan:
    memory: MoveMemory
    steps: tuple[MoveStep, ...] = ()
    clean: bool = False
    """Nothing of the move or the VM is left here."""


_S = MoveStep
_P = Presence
_LIVES = frozenset({_P.LIVE, _P.POSTCOPY, _P.POSTCOPY_BROKEN})
_HALF = frozenset({_P.POSTCOPY, _P.POSTCOPY_BROKEN})
_CAME = frozenset({_P.INCOMING, _P.ARRIVED})


def plan_end(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """The steps in order; none: the order is done as far as it can be."""
    fresh = memory.order is not move.order
    memory = replace(memory, order=move.order, recovered=memory.recovered and not fresh)
    if move.end is End.DESTINATION:
        if here.presence in _LIVES and not memory.withdrawn:
            memory = replace(memory, went=True)  # it runs by itself after a switch to post-copy
        return _destination(move, here, memory)
    return _source(move, here, memory)


def seen_as(presence: Presence, order: Order, memory: MoveMemory) -> Presence:
    """What is to be told and reckoned with of a presence, knowing what is remembered. RELEASE says that the guest lives here after all."""
    given_up = memory.given_up and order is not Order.RELEASE
    return _P.HALTED if given_up and presence in (_P.LIVE, _P.SENDING) else presence


def _source(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    match move.order:
        case Order.RELEASE:
            return _release(move, here, memory)
        case Order.CLEAN:
            return _clean(here, memory)
        case Order.STAND_BY:
            return EndPlan(memory=memory, steps=() if here.held else (_S.HOLD,))
        case Order.RECOVER if not here.running and here.presence is _P.POSTCOPY_BROKEN and (here.rested or not memory.recovered):
            return EndPlan(memory=replace(memory, recovered=True, error=None), steps=(_S.RECOVER,))
        case Order.CANCEL:
            return _cancel(move, here, memory)
        case _:
            return _attempt(move, here, memory)


def _attempt(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    if not here.held:
        return EndPlan(memory=memory, steps=(_S.HOLD,))
    if memory.over or here.running:
        return EndPlan(memory=memory)
    if not memory.begun:
        return EndPlan(memory=replace(memory, begun=True), steps=(_S.SEND,))
    return _lost(move, here, memory)  # the agent died meanwhile


def _cancel(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    if memory.over:
        return EndPlan(memory=memory)
    if here.running:
        return EndPlan(memory=memory, steps=(_S.ABORT,))
    return _lost(move, here, memory)


def _lost(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """Nobody of ours is with an attempt that was begun. What libvirt still does of it is stopped; a post-copy cannot be, and ends by itself.

    That no domain is here proves a live move, and says nothing of a cold one: a stopped VM may never have had one.
    """
    if here.presence is _P.SENDING:
        return EndPlan(memory=memory, steps=(_S.ABORT,))
    if here.presence is _P.POSTCOPY:
        return EndPlan(memory=memory)
    proved = here.presence is _P.NONE and move.kind is MigrationKind.LIVE
    problem = memory.error or Problem("agent_restarted", "the host's agent was restarted while the VM was on its way")
    return EndPlan(memory=replace(memory, over=True, error=None if proved else problem), steps=(_S.OVER,))


def _release(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    if here.running or here.presence is _P.SENDING:
        return EndPlan(memory=memory, steps=(_S.ABORT,))
    if here.presence in _HALF:  # the other half is lost for good: it begins anew from its disk
        return EndPlan(memory=replace(memory, over=True), steps=(_S.DESTROY, _S.UNHOLD))
    steps = (_S.RESUME,) if here.presence is _P.HALTED and move.vm.power is Power.RUNNING else ()
    return EndPlan(memory=replace(memory, over=True), steps=(*steps, _S.UNHOLD) if steps or here.held else ())


def _clean(here: Here, memory: MoveMemory) -> EndPlan:
    if here.presence is not _P.NONE:  # while libvirt is still giving it up it is let: cut short, it might tell the other end that it failed
        return EndPlan(memory=memory, steps=() if here.running else (_S.DESTROY,))
    if here.files:
        return EndPlan(memory=memory, steps=(_S.REMOVE,))
    return EndPlan(memory=memory, steps=(_S.UNHOLD,) if here.held else (), clean=not here.held)


def _destination(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    match move.order:
        case Order.TAKE:
            return _take(move, here, memory)
        case Order.WITHDRAW:
            return _withdraw(here, memory)
        case _ if memory.withdrawn or memory.error is not None:
            return EndPlan(memory=memory)
        case _:
            wanted = ((not here.held, _S.HOLD), (not here.prepared, _S.PREPARE), (not here.admitted, _S.ADMIT))
            return EndPlan(memory=memory, steps=tuple(step for is_so, step in wanted if is_so))


def _take(move: DesiredMove, here: Here, memory: MoveMemory) -> EndPlan:
    """Run what has come; what is only half here, or has never come, begins anew from the disk, which the lifecycle does."""
    if here.presence in _CAME and not memory.withdrawn:
        return EndPlan(memory=replace(memory, went=True), steps=(_S.GO,))
    if here.presence in _HALF | _CAME:
        return EndPlan(memory=memory, steps=(_S.DESTROY,))
    steps = ((here.admitted, _S.SHUT), (here.held, _S.UNHOLD))
    return EndPlan(memory=memory, steps=tuple(step for is_so, step in steps if is_so))


def _withdraw(here: Here, memory: MoveMemory) -> EndPlan:
    if memory.went:
        return EndPlan(memory=memory)  # GO was faster: what is testified says so, and the order will change
    if not memory.withdrawn:
        return EndPlan(memory=replace(memory, withdrawn=True), steps=(_S.WITHDRAWN,))
    steps = (
        (here.admitted, _S.SHUT),
        (here.presence is not _P.NONE, _S.DESTROY),
        (here.files, _S.REMOVE),
        (here.held, _S.UNHOLD),
    )
    due = tuple(step for is_so, step in steps if is_so)
    return EndPlan(memory=memory, steps=due, clean=not due)
