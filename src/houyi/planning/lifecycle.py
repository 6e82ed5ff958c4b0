"""The life of one VM on its host: from what is desired, what is seen and what is remembered to the next steps. Pure.

    wants up:   (prepare) -> start -> running <-> paused ; endings by the guest meet the restart policy, with growing delays
    wants down: shutdown, pressed again now and then -> destroy after the grace period
    deleted:    undefine -> remove files -> gone

`plan` is asked again after every step, after every event and now and then; each answer depends on its arguments only. What may not be
repeated (a reboot) and what the hypervisor forgets (how a guest ended) is in `Plan.memory`, which the loop writes down *before* it acts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.vm import DesiredVm, Power, Remedy, RestartPolicy, StateReason, StopMode, Trouble, VmState
from houyi.planning.spec import remedy

RESTART_DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Before the n-th restart in a row (the last one stays): a guest that dies at once must not eat its host."""
STEADY_SECONDS = 600.0
"""A VM that ran this long before it ended begins again at the first delay."""
PRESS_SECONDS = 5.0
"""How often the power button is pressed during the grace period: a guest that is still booting does not hear the first time."""
WATCH_SECONDS = 0.5
"""How soon to look again while something is under way that should have an event, in case the event is lost."""


class Step(StrEnum):
    """One act of the loop. All are idempotent but REBOOT and RESET, which are remembered before they are done."""

    FETCH_IMAGE = "fetch_image"
    ENSURE_NETWORKS = "ensure_networks"
    CREATE_DISK = "create_disk"
    WRITE_SEED = "write_seed"
    START = "start"
    START_PAUSED = "start_paused"
    SHUTDOWN = "shutdown"
    DESTROY = "destroy"
    SUSPEND = "suspend"
    RESUME = "resume"
    REBOOT = "reboot"
    RESET = "reset"
    UNDEFINE = "undefine"
    REMOVE_FILES = "remove_files"


SHOWN: Mapping[Step, tuple[VmState | None, str, float]] = {
    Step.FETCH_IMAGE: (VmState.PREPARING, "fetching image", 0.1),
    Step.ENSURE_NETWORKS: (VmState.PREPARING, "setting up networks", 0.6),
    Step.CREATE_DISK: (VmState.PREPARING, "creating disk", 0.7),
    Step.WRITE_SEED: (VmState.PREPARING, "writing seed", 0.8),
    Step.START: (VmState.STARTING, "starting", 0.9),
    Step.START_PAUSED: (VmState.STARTING, "starting", 0.9),
    Step.SHUTDOWN: (VmState.STOPPING, "waiting for the guest to shut down", 0.3),
    Step.DESTROY: (VmState.STOPPING, "powering off", 0.8),
    Step.SUSPEND: (None, "pausing", 0.5),
    Step.RESUME: (None, "resuming", 0.5),
    Step.REBOOT: (None, "asking the guest to reboot", 0.5),
    Step.RESET: (None, "resetting", 0.5),
    Step.UNDEFINE: (VmState.REMOVING, "removing domain", 0.3),
    Step.REMOVE_FILES: (VmState.REMOVING, "removing files", 0.7),
}
"""What is shown while a step runs: state (None: as before), stage, progress."""

LIVE = frozenset({VmState.RUNNING, VmState.PAUSED, VmState.STOPPING})
"""States in which there is a guest that lives."""
_CRASHES = frozenset({StateReason.GUEST_PANIC, StateReason.QEMU_DIED, StateReason.WATCHDOG})
_ENDINGS = _CRASHES | {StateReason.GUEST_SHUTDOWN, StateReason.EXTERNAL}
ONCE = frozenset({Step.REBOOT, Step.RESET})
"""Acts that are remembered before they are done: whether one that failed was done after all cannot be known, so it is never repeated."""
PREPARE = (Step.FETCH_IMAGE, Step.ENSURE_NETWORKS, Step.CREATE_DISK, Step.WRITE_SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is on the host of this VM now. `state` None: no domain."""

    state: VmState | None = None
    reason: StateReason = StateReason.NONE
    files: bool = False
    epoch: int = 0
    """At which the domain was last defined: guards an agent that has lost its ledger; 0: no domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the agent remembers of a VM through its own death and the host's: the ledger's record."""

    epoch: int = 0
    """The highest that was ever heard of: orders with a lower one are refused."""
    generation: int = 0
    """The newest generation that has been in force."""
    reboot_serial: int = 0
    reset_serial: int = 0
    started_serial: int = 0
    """The power_serial under which it was last seen or made to run."""
    started_boot: str = ""
    """The host's boot id at that time."""
    started_at: float = 0.0
    ended_serial: int = 0
    """The power_serial under which the guest ended by itself; 0: it did not. Written down because libvirt forgets it when it or the host restarts."""
    ended_reason: StateReason = StateReason.NONE
    restarts: int = 0
    """How often the policy has started it again; the first delay and this figure begin anew with every power verb and after a steady run."""
    restart_at: float = 0.0
    resumed_serial: int = 0
    """The power_serial under which it was last resumed from an I/O error: once a wish, since it may stumble again at once."""
    hurt: bool = False
    """Memory that it uses has failed, and nothing has been done about that yet."""
    stopping_serial: int = 0
    """The power_serial whose grace period began at `stopping_since`."""
    stopping_since: float = 0.0
    pressed_at: float = 0.0
    error: Problem | None = None
    error_generation: int = 0
    stuck_generation: int = 0
    """The generation that failed and is not tried again while this is still so:"""
    stuck_boot: str = ""
    stuck_state: VmState | None = None
    moving: str = ""
    """The move that holds it: as long as there is one, nothing is done with the VM here but by that move."""
    parted_at: float = 0.0
    """When it left this host; `epoch` is kept, so that an order from before is refused and never runs a second copy. 0: it has not left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`steps` in order; nothing to do when empty. `settled`: the desired generation is in force. `gone`: nothing is left of a deleted VM."""

    memory: Memory
    state: VmState
    reason: StateReason = StateReason.NONE
    steps: tuple[Step, ...] = ()
    settled: bool = False
    gone: bool = False
    look_again_seconds: float | None = None
    refused: Problem | None = None


def plan(desired: DesiredVm, seen: Seen, memory: Memory, *, boot_id: str, now: float) -> Plan:
    """What to do next for one VM. :param now: Unix seconds of the host's clock."""
    newest = max(memory.epoch, seen.epoch)
    if desired.epoch < newest:
        problem = Problem("epoch_old", f"ordered at epoch {desired.epoch}, but epoch {newest} has been seen: the VM was given to another host since")
        return Plan(memory=memory, state=seen.state or VmState.ABSENT, reason=seen.reason, refused=problem)
    if memory.moving:
        return Plan(memory=memory, state=_held(desired, seen))
    memory = _up_to_date(desired, seen, memory, boot_id, now)
    if desired.deleted:
        return _delete(seen, memory)
    if memory.stuck_generation >= desired.generation and (memory.stuck_boot, memory.stuck_state) == (boot_id, seen.state):
        return _stuck(desired, seen, memory)
    if desired.power is Power.STOPPED:
        return _down(desired, seen, memory, now)
    return _up(desired, seen, memory, now)


def _held(desired: DesiredVm, seen: Seen) -> VmState:
    """What to show of a VM on its way: that a move halts it, and where its domain is, is the move's business."""
    if seen.state in (VmState.CRASHED, VmState.STOPPED):
        return seen.state
    return {Power.RUNNING: VmState.RUNNING, Power.PAUSED: VmState.PAUSED}.get(desired.power, VmState.STOPPED)


def done(step: Step, desired: DesiredVm, memory: Memory, *, boot_id: str, now: float) -> Memory:
    """What to remember once a step has worked."""
    if step not in (Step.START, Step.START_PAUSED):
        return memory
    again = memory.ended_serial == desired.power_serial
    return replace(
        memory,
        started_serial=desired.power_serial,
        started_boot=boot_id,
        started_at=now,
        restarts=memory.restarts + 1 if again else 0,
        ended_serial=0,
        ended_reason=StateReason.NONE,
        pressed_at=0.0,
        hurt=False,
        error=None,
        error_generation=0,
        # A fresh boot is what a reboot or reset asks for.
        reboot_serial=max(memory.reboot_serial, desired.reboot_serial),
        reset_serial=max(memory.reset_serial, desired.reset_serial),
    )


def failed(step: Step, desired: DesiredVm, seen: Seen, memory: Memory, problem: Problem, *, boot_id: str) -> Memory:
    """What to remember once a step has failed for good.

    The generation is not tried again while the VM and its host stay as they are; a deletion always is. A reboot or reset that failed
    is over, and changes nothing of what else is wanted.
    """
    memory = replace(memory, error=problem, error_generation=desired.generation)
    if step in ONCE:
        return replace(memory, stuck_generation=0)  # nothing else has failed: it is alive
    return replace(memory, stuck_generation=desired.generation, stuck_boot=boot_id, stuck_state=seen.state)


def _up_to_date(desired: DesiredVm, seen: Seen, memory: Memory, boot_id: str, now: float) -> Memory:
    memory = replace(_in_time(memory, now), parted_at=0.0)
    if memory.error is not None and memory.error_generation < desired.generation:
        memory = replace(memory, error=None, error_generation=0)
    if memory.epoch < desired.epoch:
        # Newly given to this host: acts that were asked of it before are not ours to repeat, and how it once ended here no longer matters.
        memory = replace(memory, epoch=desired.epoch, reboot_serial=desired.reboot_serial, reset_serial=desired.reset_serial, ended_serial=0)
    if desired.power is not Power.STOPPED and memory.pressed_at and now - memory.pressed_at > desired.grace_seconds:
        memory = replace(memory, pressed_at=0.0)  # the guest did not follow that press; a later end is its own
    if seen.state in LIVE:
        return _alive_memory(desired, memory, boot_id, now)
    ended = seen.state is VmState.CRASHED or seen.reason in _ENDINGS
    ours = memory.started_serial == desired.power_serial and memory.started_boot == boot_id  # it ran under this very wish, on this boot of the host
    if ended and ours and memory.ended_serial != desired.power_serial and desired.power is not Power.STOPPED:
        return _ended_memory(desired, seen, memory, now)
    return memory


def _in_time(memory: Memory, now: float) -> Memory:
    """No moment is in the future: a clock that was set back must not stretch a grace period or a delay."""
    return replace(
        memory,
        started_at=min(memory.started_at, now),
        stopping_since=min(memory.stopping_since, now),
        pressed_at=min(memory.pressed_at, now),
        restart_at=min(memory.restart_at, now + RESTART_DELAYS_SECONDS[-1]),
    )


def _alive_memory(desired: DesiredVm, memory: Memory, boot_id: str, now: float) -> Memory:
    started_at = now if memory.ended_serial or memory.started_boot != boot_id else memory.started_at
    memory = replace(memory, started_boot=boot_id, started_at=started_at or now, ended_serial=0, ended_reason=StateReason.NONE)
    # After a press of the power button its end is the answer to the press, and a start asked since has still to be done.
    if desired.power is Power.STOPPED or memory.pressed_at or memory.started_serial >= desired.power_serial:
        return memory
    return replace(memory, started_serial=desired.power_serial, restarts=0)


def _ended_memory(desired: DesiredVm, seen: Seen, memory: Memory, now: float) -> Memory:
    steady = memory.started_at > 0 and now - memory.started_at >= STEADY_SECONDS
    restarts = 0 if steady else memory.restarts
    delay = RESTART_DELAYS_SECONDS[min(restarts, len(RESTART_DELAYS_SECONDS) - 1)]
    reason = seen.reason if seen.reason in _ENDINGS else StateReason.QEMU_DIED
    return replace(memory, ended_serial=desired.power_serial, ended_reason=reason, restarts=restarts, restart_at=now + delay)


def _stuck(desired: DesiredVm, seen: Seen, memory: Memory) -> Plan:
    """Nothing more is tried for this generation: it has failed for good."""
    state = seen.state if seen.state in LIVE else VmState.FAILED
    return Plan(memory=replace(memory, generation=desired.generation), state=state, reason=seen.reason, settled=True)


def _settled(desired: DesiredVm, seen: Seen, memory: Memory, state: VmState, look_again_seconds: float | None = None) -> Plan:
    """The wish is in force. What a step failed at on the way, for good, no longer matters; a reboot or reset that failed was never done, and still says so."""
    memory = replace(memory, generation=desired.generation)
    if memory.error is not None and memory.stuck_generation == memory.error_generation:
        memory = replace(memory, error=None, error_generation=0, stuck_generation=0)
    return Plan(memory=memory, state=state, reason=seen.reason, settled=True, look_again_seconds=look_again_seconds)


def _delete(seen: Seen, memory: Memory) -> Plan:
    if seen.state is None and not seen.files:
        return Plan(memory=memory, state=VmState.ABSENT, settled=True, gone=True)
    steps = (Step.UNDEFINE, Step.REMOVE_FILES) if seen.state is not None else (Step.REMOVE_FILES,)
    return Plan(memory=memory, state=VmState.REMOVING, steps=steps)


def _down(desired: DesiredVm, seen: Seen, memory: Memory, now: float) -> Plan:
    # A reboot or reset that was overtaken by a stop is done with, and so is the count of restarts.
    memory = replace(memory, reboot_serial=desired.reboot_serial, reset_serial=desired.reset_serial, ended_serial=0, restarts=0)
    fresh = memory.stopping_serial != desired.power_serial
    if fresh:
        memory = replace(memory, stopping_serial=desired.power_serial, stopping_since=now, pressed_at=0.0)
    if seen.state is VmState.CRASHED and fresh:
        # Once: a panicked guest's process goes, but where QEMU itself died there is nothing to power off and "crashed" stays what libvirt says.
        return Plan(memory=memory, state=VmState.CRASHED, reason=seen.reason, steps=(Step.DESTROY,))
    if seen.state not in LIVE:
        if not seen.files:
            return Plan(memory=memory, state=VmState.PREPARING, steps=PREPARE)
        return _settled(desired, seen, memory, VmState.STOPPED)
    if desired.stop_mode is StopMode.FORCE:
        return Plan(memory=memory, state=VmState.STOPPING, steps=(Step.DESTROY,))
    left = memory.stopping_since + desired.grace_seconds - now
    if left <= 0:
        return Plan(memory=memory, state=VmState.STOPPING, steps=(Step.DESTROY,))
    if now - memory.pressed_at >= PRESS_SECONDS:
        # A paused guest cannot answer the button.
        press = (Step.RESUME, Step.SHUTDOWN) if seen.state is VmState.PAUSED else (Step.SHUTDOWN,)
        return Plan(memory=replace(memory, pressed_at=now), state=VmState.STOPPING, steps=press)
    return Plan(memory=memory, state=VmState.STOPPING, look_again_seconds=min(WATCH_SECONDS, left))


def _up(desired: DesiredVm, seen: Seen, memory: Memory, now: float) -> Plan:
    if seen.state in LIVE:
        return _alive(desired, seen, memory)
    if memory.ended_serial == desired.power_serial:
        return _ended(desired, seen, memory, now)
    return _begin(desired, seen, memory, VmState.PREPARING, StateReason.NONE)


def _begin(desired: DesiredVm, seen: Seen, memory: Memory, state: VmState, reason: StateReason) -> Plan:
    clear = (Step.DESTROY,) if seen.state is VmState.CRASHED else ()
    start = Step.START_PAUSED if desired.power is Power.PAUSED else Step.START
    return Plan(memory=memory, state=state, reason=reason, steps=(*clear, *PREPARE, start))


def _alive(desired: DesiredVm, seen: Seen, memory: Memory) -> Plan:
    state = seen.state or VmState.RUNNING
    if state is VmState.STOPPING:
        return Plan(memory=memory, state=state, reason=seen.reason, look_again_seconds=WATCH_SECONDS)
    if desired.power is Power.PAUSED:
        if state is VmState.RUNNING:
            return Plan(memory=memory, state=state, steps=(Step.SUSPEND,))
        return _settled(desired, seen, memory, VmState.PAUSED)
    if state is VmState.PAUSED:
        if seen.reason is StateReason.IO_ERROR:
            if memory.resumed_serial == desired.power_serial or remedy(desired.spec, Trouble.IO_ERROR) is Remedy.KEEP:
                return _settled(desired, seen, memory, VmState.PAUSED)  # it would only stumble again: the user says when
            memory = replace(memory, resumed_serial=desired.power_serial)
        return Plan(memory=memory, state=state, reason=seen.reason, steps=(Step.RESUME,))
    if memory.hurt and remedy(desired.spec, Trouble.MEMORY_FAILURE) is Remedy.RESTART:
        return Plan(memory=replace(memory, hurt=False), state=state, steps=(Step.RESET,))
    memory = replace(memory, hurt=False)
    if memory.reset_serial < desired.reset_serial:
        memory = replace(memory, reset_serial=desired.reset_serial, reboot_serial=desired.reboot_serial)
        return Plan(memory=memory, state=state, steps=(Step.RESET,))
    if memory.reboot_serial < desired.reboot_serial:
        return Plan(memory=replace(memory, reboot_serial=desired.reboot_serial), state=state, steps=(Step.REBOOT,))
    return _settled(desired, seen, memory, VmState.RUNNING)


def _ended(desired: DesiredVm, seen: Seen, memory: Memory, now: float) -> Plan:
    """The guest ended by itself under this wish: the restart policy says what follows, of a panic what was asked about it."""
    crashed = memory.ended_reason in _CRASHES
    state = VmState.CRASHED if crashed else VmState.STOPPED
    if _again(desired, memory.ended_reason, crashed=crashed):
        if now >= memory.restart_at:
            return _begin(desired, seen, memory, state, memory.ended_reason)
        plan = _settled(desired, seen, memory, state, memory.restart_at - now)
    else:
        plan = _settled(desired, seen, memory, state)
    return replace(plan, reason=memory.ended_reason)


def _again(desired: DesiredVm, ended: StateReason, *, crashed: bool) -> bool:
    asked = desired.spec.on_trouble.get(Trouble.PANIC) if ended is StateReason.GUEST_PANIC else None
    if asked is not None:
        return asked is Remedy.RESTART
    policy = desired.spec.restart_policy
    return policy is RestartPolicy.ALWAYS or (policy is RestartPolicy.ON_FAILURE and crashed)


def hurt(memory: Memory) -> Memory:
    """What to remember once the machine has told of failed memory that the VM uses."""
    return replace(memory, hurt=True)
