"""A move of one VM from its host to another: what was asked, what each end testifies, where the move stands (docs/rfd/0002-fleet.md).

    queued -> preparing -> moving -> finishing -> done            (it lives at the destination)
       |          |         ^  |
       |          |         |  +--> unknown   (where it lives cannot be told yet, and why)
       |          |         +---------'  |
       v          v                      v
    cancelled   aborting  <--------------'  -> failed | cancelled  (it lives, or ended, at the source)

Four records with one writer each: the wish (`MigrationSpec`, commands), the course (`MigrationCourse`, the workflow), and what each end
observed (`ObservedMove`, intake from that host). `Migration` joins them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import HostId, MigrationId, OperationId, ProjectId, VmId
from houyi.model.line import LineRates
from houyi.model.vm import DesiredVm, MigrationPolicy


class MigrationKind(StrEnum):
    LIVE = "live"
    """The guest (running, or paused by its user) moves with its memory."""
    COLD = "cold"
    """A stopped VM: only its disk moves."""


class MigrationState(StrEnum):
    QUEUED = "queued"
    """Waits for a slot of its hosts."""
    PREPARING = "preparing"
    """The destination makes disk, networks, credentials and its door; the guest does not notice."""
    MOVING = "moving"
    """The source was told to move it: it lives at the source, up to the switch-over."""
    UNKNOWN = "unknown"
    """It cannot be told where it lives, or it lives nowhere for now; goes on when evidence comes. Nothing is resumed meanwhile."""
    FINISHING = "finishing"
    """It lives at the destination, which is its home now; the source cleans up."""
    ABORTING = "aborting"
    """Its home stays the source; the destination cleans up, then the source is released."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_M = MigrationState
NEXT: Mapping[MigrationState, frozenset[MigrationState]] = {
    _M.QUEUED: frozenset({_M.PREPARING, _M.FAILED, _M.CANCELLED}),
    _M.PREPARING: frozenset({_M.MOVING, _M.ABORTING}),
    _M.MOVING: frozenset({_M.FINISHING, _M.ABORTING, _M.UNKNOWN}),
    _M.UNKNOWN: frozenset({_M.MOVING, _M.FINISHING, _M.ABORTING}),
    _M.FINISHING: frozenset({_M.DONE}),
    _M.ABORTING: frozenset({_M.FAILED, _M.CANCELLED}),
    _M.DONE: frozenset(),
    _M.FAILED: frozenset(),
    _M.CANCELLED: frozenset(),
}
"""A move outside it is a bug. Note what is missing: FINISHING never goes back, and ABORTING never forward."""

ENDED = frozenset({_M.DONE, _M.FAILED, _M.CANCELLED})
HOLDS = frozenset({_M.PREPARING, _M.MOVING, _M.UNKNOWN})
"""Where the VM is on its way and takes no verbs; after that it has a home again, which may still be tidied up after."""


class End(StrEnum):
    """Which end of a move a host is."""

    SOURCE = "source"
    DESTINATION = "destination"


class Order(StrEnum):
    """What the workflow tells an end. Level-triggered: an order holds until the next; an end says which is in force."""

    PREPARE = "prepare"
    """Destination: have everything ready, and the door open for this source and this move."""
    STAND_BY = "stand_by"
    """Source: nothing yet, but the VM is held: no verb, no restart, no removal."""
    MOVE = "move"
    """Source: move it now (once: an attempt that is over is not begun again)."""
    CANCEL = "cancel"
    """Source: stop the attempt if it can still be stopped."""
    RECOVER = "recover"
    """Source: take up a broken post-copy again."""
    WITHDRAW = "withdraw"
    """Destination: destroy what has come, remove its files, close the door; from then on a late GO is refused."""
    TAKE = "take"
    """Destination: it is yours (the VM is in your desired state, with the new epoch)."""
    RELEASE = "release"
    """Source: it stays yours; forget the move, resume the guest if the move has left it halted, and serve it again."""
    CLEAN = "clean"
    """Source: it lives elsewhere; destroy what is halted here and remove its files."""


class Presence(StrEnum):
    """What is of the VM on one host, as a fact that the host testifies."""

    NONE = "none"
    """No domain is defined. At the source this is the proof that the move was confirmed: nothing else undefines it while it is held."""
    OFF = "off"
    """Defined, and no guest in it: it ended here, or the host was rebooted."""
    LIVE = "live"
    """The guest executes here (or is paused by its user), and is not on its way."""
    SENDING = "sending"
    """LIVE, and being sent."""
    HALTED = "halted"
    """Source: stopped by the move after everything was sent; whether it arrived is not known here."""
    INCOMING = "incoming"
    """Destination: a guest that has not run here, and is not whole. It never runs by itself."""
    ARRIVED = "arrived"
    """Destination: it has come whole, and GO has not: it could run, and never does by itself."""
    POSTCOPY = "postcopy"
    """Source: stopped, its memory is still being fetched. Destination: executes, with pages still missing."""
    POSTCOPY_BROKEN = "postcopy_broken"
    """As POSTCOPY, but the connection is lost: recoverable as long as both ends are there."""


class MoveMode(StrEnum):
    """How memory is moved."""

    PLAIN = "plain"
    MULTIFD = "multifd"
    COMPRESSED = "compressed"
    """multifd with zstd."""
    THROTTLED = "throttled"
    """auto-converge was needed."""
    POSTCOPY = "postcopy"
    COLD = "cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A live move as QEMU tells it now; 0 where it tells nothing."""

    elapsed_seconds: float = 0.0
    memory_total_mib: float = 0.0
    memory_remaining_mib: float = 0.0
    memory_sent_mib: float = 0.0
    disk_total_mib: float = 0.0
    disk_remaining_mib: float = 0.0
    disk_sent_mib: float = 0.0
    rounds: int = 0
    """Iterations over memory (QEMU's dirty-sync count)."""
    dirty_mib_s: float = 0.0
    """As of the last round."""
    bandwidth_mib_s: float = 0.0
    downtime_ms: float = 0.0
    """Expected, while it moves; as it was, at the end."""
    throttle_percent: int = 0
    postcopy: bool = False
    smaller: float = 0.0
    """The memory that was sent, by the bytes that it took: how far it could be compressed, where it was. About 1 where it was not; 0: nothing was sent yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Within which bounds a live move is steered: policy and budget in words of `planning.migration`, never libvirt's knobs."""

    policy: MigrationPolicy = MigrationPolicy.AUTO
    downtime_ms_max: float = 300.0
    """The guest's budget; 300 ms is QEMU's own default."""
    postcopy: bool = False
    """Whether post-copy may be used: faster than anything else, but a guest whose two halves cannot meet again is lost."""
    bandwidth_mib_s_max: float = 0.0
    """Cap of this move; 0: none."""
    seconds_max: float = 1800.0
    """After this long the move is stopped. Always bounded."""
    channels: int = 1
    """Connections to begin with (more than one: multifd)."""
    compressed: bool = False
    throttles: bool = True
    """Whether the policy may slow the guest: QEMU has to be told at the start."""
    encrypted: bool = True
    slowed_percent: int = 0
    """By how much the guest will have to be slowed, as far as that is known beforehand: QEMU does it as soon as it sees itself that it does not converge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What can be changed while a guest moves. None: as it is."""

    bandwidth_mib_s: float | None = None
    """0: no limit."""
    downtime_ms: float | None = None
    throttle_percent: int | None = None
    """auto-converge's ceiling; 0: off. Gone with the attempt, however it ends."""
    postcopy: bool = False
    """Switch over to post-copy now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What the destination tells the source once it is ready; opaque to everybody in between."""

    address: str
    """Where its door and QEMU's ports are."""
    port: int
    """The door's."""
    tls_name: str
    """The name in its migration certificate."""
    domain_xml: str = ""
    """The domain as it has to be there (its paths, the new epoch); '' for a cold move."""
    copies_disk: bool = True
    """False: both ends see the same files (shared storage)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredMove:
    """One end's part of a move, whole."""

    id: MigrationId
    vm: DesiredVm
    """As the destination shall have it: with the new epoch (the source's is lower)."""
    end: End
    order: Order
    kind: MigrationKind
    peer: HostId
    terms: Terms
    landing: Landing | None = None
    """For the source, once the destination has told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMove:
    """What one end testifies."""

    id: MigrationId
    end: End
    presence: Presence
    order: Order
    """The order that is in force: it has been done as far as it can be done, or is being done (`busy`)."""
    busy: bool = False
    ready: bool = False
    """Destination: everything is prepared and `landing` is told."""
    over: bool = False
    """Source: the attempt has ended, one way or the other, or can no longer begin; nothing of it is under way here."""
    went: bool = False
    """Destination: the guest has executed here (written down before it is resumed). Without it, its copy is worth nothing and harms nobody."""
    clean: bool = False
    """Nothing of the VM or the move is left on this host."""
    landing: Landing | None = None
    stage: str = ""
    progress: float = 0.0
    figures: Figures | None = None
    mode: MoveMode | None = None
    gap_ms: float = 0.0
    """From the guest's stop at the source until it was resumed at the destination, by the clock of who says so; 0: not known."""
    line: LineRates | None = None
    """Source: to the destination; None: not measured."""
    error: Problem | None = None
    at: float = 0.0
    """Unix seconds, the host's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSample:
    """How a guest used its memory and its disk when its host looked: now and then, never while it moves. What forecasts rest on."""

    vm_id: VmId
    dirty_mib_s: float
    """How fast it wrote to pages that were clean."""
    seconds: float = 1.0
    """Over how long: in a longer time, a guest that writes to the same pages again dirties fewer new ones a second."""
    memory_mib: float = 0.0
    """Of its memory in use; 0: not known."""
    disk_mib: float = 0.0
    """Allocated on its host's own disk; 0: not known, or none."""
    at: float = 0.0
    """Unix seconds, the host's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The verdict before a move: made from measurements, kept beside the outcome."""

    converges: bool
    mode: MoveMode
    total_seconds: float
    downtime_ms: float
    """For how long the guest will stand still, with our hand-over: what an outcome's `gap_ms` is."""
    sent_mib: float
    why: str
    """One sentence: why this mode, and what it rests on."""
    blockers: tuple[Problem, ...] = ()
    """Why it cannot be done at all; then the rest means nothing."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    """What it was computed from: dirty_mib_s, memory_used_mib, disk_mib, bandwidth_mib_s, residual ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it."""

    total_seconds: float
    downtime_ms: float
    """As QEMU reports it."""
    gap_ms: float
    """From stop to resume, with our hand-over."""
    sent_mib: float
    rounds: int
    mode: MoveMode
    throttle_percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSpec:
    """The wish. Only `cancelled` and `priority` may change."""

    kind: MigrationKind
    terms: Terms
    priority: int = 0
    """Higher goes first; a drain's are 10, an evacuation's 20."""
    cancelled: bool = False
    reason: str = ""
    """'asked', 'drain' ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationCourse:
    """Where it stands: written by the workflow only."""

    state: MigrationState = MigrationState.QUEUED
    orders: Mapping[End, Order] = field(default_factory=dict)
    """What each end is told now; an end without one is told nothing."""
    why: str = ""
    """Why it waits, failed or is unknown: one sentence."""
    error: Problem | None = None
    began_at: float = 0.0
    """When it was given its slots; Unix seconds of the server."""
    moved_at: float = 0.0
    ended_at: float = 0.0
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    id: MigrationId
    project_id: ProjectId
    vm_id: VmId
    vm_name: str
    source_id: HostId
    destination_id: HostId
    epoch: int
    """Of the VM at the destination: that of the claim there."""
    operation_id: OperationId
    spec: MigrationSpec
    course: MigrationCourse
    forecast: Forecast | None
    source: ObservedMove | None
    destination: ObservedMove | None
    source_heard: bool
    """Whether that host is connected (or was, within the lease)."""
    destination_heard: bool
    gone: frozenset[HostId] = frozenset()
    """Of its two hosts those that were removed from the platform: nothing will be heard of them, and nothing of theirs counts."""
    created_at: float
    revision: int
