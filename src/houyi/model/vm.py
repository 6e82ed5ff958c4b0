"""A virtual machine: what was asked (VmSpec, DesiredVm), what is true on its host (ObservedVm), what people see (effective).

Three records with three owners (docs/rfd/0001-one-host.md): desired state is written by control.commands, observed state by
control.intake from the host that owns it, the claim that joins them by placement. `effective` is computed, never stored.

States of the observed VM (the usual ways; NEXT is the whole law, with what guests and people do meanwhile):

    absent -> preparing -> starting -> running <-> paused
               |  ^   |        |       |    |        |
               |  |   v        v       v    v        |
               |  +-- stopped <-- stopping  crashed (guest panic, QEMU died)
               v
             failed (a new generation tries again)
    anything -> removing -> absent
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.cpu import GuestCpu
from houyi.model.errors import Problem
from houyi.model.ids import HostId, ImageId, MigrationId, NetworkId, PlacementGroupId, PoolId, ProjectId, VmId

LOCAL = "local"
"""The storage that every host has: its own disk."""


class Power(StrEnum):
    """What the user wants the VM to be doing."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class StopMode(StrEnum):
    GRACEFUL = "graceful"
    """ACPI power button, then forced off after the grace period."""
    FORCE = "force"


class RestartPolicy(StrEnum):
    """What happens when the guest ends without being asked to."""

    ALWAYS = "always"
    """Start again after a crash and after a shutdown from inside."""
    ON_FAILURE = "on-failure"
    """Start again after a crash only."""
    NEVER = "never"


class Trouble(StrEnum):
    """What happens to a guest without anybody's wish, and what can be said about beforehand."""

    PANIC = "panic"
    """Its kernel says that it cannot go on."""
    WATCHDOG = "watchdog"
    """It has opened its watchdog and then not fed it in time."""
    IO_ERROR = "io_error"
    """A disk of the host failed, or is full."""
    MEMORY_FAILURE = "memory_failure"
    """Memory of the host that it uses has failed, and it was told by a machine check."""


class Remedy(StrEnum):
    """What is done about a trouble; `planning.spec.REMEDIES` says which of them can be had for which."""

    RESTART = "restart"
    """It is started again, or reset where it still lives."""
    STOP = "stop"
    """It is powered off, and stays so."""
    KEEP = "keep"
    """It is left as it is, for somebody to look at."""
    RESUME = "resume"
    """It goes on after a moment, once a wish: the fault may have been a short one."""
    REPORT = "report"
    """The guest is told, and does what it does."""


class MigrationPolicy(StrEnum):
    """What the user wants of moves of a VM, in words; `planning.migration` turns them into knobs."""

    AUTO = "auto"
    """As gentle as it can be and still converge."""
    GENTLE = "gentle"
    """Never slow the guest down, never post-copy: rather do not move."""
    FAST = "fast"
    """As soon as possible: all the bandwidth, throttling at once when it does not converge."""
    NEVER = "never"
    """The VM does not move while it runs."""


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class VmState(StrEnum):
    """A VM on its host, as the agent sees it."""

    ABSENT = "absent"
    PREPARING = "preparing"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    CRASHED = "crashed"
    FAILED = "failed"
    REMOVING = "removing"


_FACTS = frozenset({VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.CRASHED})
"""What guests and people can bring about behind our back, several such things between two looks: so these may follow one another freely."""

NEXT: Mapping[VmState, frozenset[VmState]] = {
    VmState.ABSENT: frozenset({VmState.PREPARING}),
    VmState.PREPARING: _FACTS | {VmState.STARTING, VmState.STOPPING, VmState.FAILED, VmState.REMOVING, VmState.ABSENT},
    VmState.STOPPED: _FACTS - {VmState.STOPPED} | {VmState.PREPARING, VmState.STOPPING, VmState.REMOVING, VmState.ABSENT},
    VmState.STARTING: _FACTS | {VmState.PREPARING, VmState.STOPPING, VmState.FAILED, VmState.REMOVING, VmState.ABSENT},
    VmState.RUNNING: _FACTS - {VmState.RUNNING} | {VmState.PREPARING, VmState.STOPPING, VmState.FAILED, VmState.REMOVING, VmState.ABSENT},
    VmState.PAUSED: _FACTS - {VmState.PAUSED} | {VmState.PREPARING, VmState.STOPPING, VmState.FAILED, VmState.REMOVING, VmState.ABSENT},
    VmState.STOPPING: _FACTS | {VmState.PREPARING, VmState.FAILED, VmState.REMOVING, VmState.ABSENT},
    VmState.CRASHED: _FACTS - {VmState.CRASHED} | {VmState.PREPARING, VmState.STOPPING, VmState.REMOVING, VmState.ABSENT},
    VmState.FAILED: _FACTS | {VmState.PREPARING, VmState.STOPPING, VmState.REMOVING, VmState.ABSENT},
    VmState.REMOVING: frozenset({VmState.ABSENT}),
}
"""Which observed state may follow which; staying is always allowed.

What it forbids: nothing is started that was not prepared just before; nothing fails while nothing is tried; what is being removed is never
anything again; a new VM begins by being prepared. Moving outside it is a bug of ours, which the agent counts and logs where it says a state,
before reports are coalesced (`may_follow`). An observation is a fact all the same: it is never refused for that, neither there nor by the server,
which hears samples only and could not tell.
"""


def may_follow(before: VmState, after: VmState) -> bool:
    """Whether the law allows this transition."""
    return after is before or after in NEXT[before]


class StateReason(StrEnum):
    """Why the VM is in its observed state."""

    NONE = ""
    REQUESTED = "requested"
    GUEST_SHUTDOWN = "guest_shutdown"
    GUEST_PANIC = "guest_panic"
    QEMU_DIED = "qemu_died"
    HOST_REBOOT = "host_reboot"
    IO_ERROR = "io_error"
    WATCHDOG = "watchdog"
    EXTERNAL = "external"
    """Somebody acted on the domain behind our back."""


class EffectiveState(StrEnum):
    """What people see: `effective(...)` computes it."""

    PENDING = "pending"
    """No host yet."""
    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CRASHED = "crashed"
    ERROR = "error"
    UNKNOWN = "unknown"
    """Its host is not heard of: it may well be running."""
    DELETING = "deleting"


class GuestAgent(StrEnum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSpec:
    """One virtual NIC as asked. `address` is an IPv4 literal or empty: the platform then chooses a free one and keeps it for the NIC's life."""

    network_id: NetworkId
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """What the user asked for; changes take effect at the next start unless said otherwise."""

    image_id: ImageId
    vcpus: int
    memory_mib: int
    disk_gib: int
    """Size of the boot disk; at least the image's virtual size."""
    nics: tuple[NicSpec, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    """Public keys in OpenSSH's one-line form, copied in at creation."""
    user_data: str = ""
    restart_policy: RestartPolicy = RestartPolicy.ON_FAILURE
    firmware: Firmware = Firmware.BIOS
    video: bool = True
    """Whether there is a display (and so VNC)."""
    cpu_model: str = ""
    """A libvirt CPU model name; empty: the host's default for its accelerator, never host-passthrough."""
    labels: Mapping[str, str] = field(default_factory=dict)
    migration_policy: MigrationPolicy = MigrationPolicy.AUTO
    downtime_ms_max: int = 300
    """For how long the guest may stand still when it moves; 300 ms is QEMU's own default."""
    postcopy: bool = False
    """Whether post-copy may be used when it moves: a guest whose two halves cannot meet again is lost."""
    host_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that its host must have."""
    storage: str = LOCAL
    """Where its disk is: `local`, on its host, or the name of a folder that hosts share."""
    placement_group_id: PlacementGroupId | None = None
    pool_id: PoolId | None = None
    """The pool that its hosts must be of; None: any host, in a pool or not."""
    cpu_features: tuple[str, ...] = ()
    """CPU features that it must have whatever else it gets: it goes where they can be had only."""
    profile: str = ""
    """The tuning profile that it shall run with; empty: its host's, if that has one."""
    on_trouble: Mapping[Trouble, Remedy] = field(default_factory=dict)
    """What is done about troubles; those that are not named are dealt with as `planning.spec.REMEDIES` has them first."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    """Own settings of VM knobs, which win over the profile's; each says in `planning.tuning` when it takes effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredNic:
    """One NIC as allocated by the platform."""

    network_id: NetworkId
    mac: str
    address: str
    """IPv4 without prefix; empty on a network whose addresses the platform does not manage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredVm:
    """Everything a host must know to make and keep one VM. Level-triggered: acts such as reboot are counters that only grow."""

    id: VmId
    project_id: ProjectId
    name: str
    epoch: int
    """Grows by one whenever the VM is given to a host; the agent refuses lower ones."""
    generation: int
    """Grows by one with every change of the desired state."""
    spec: VmSpec
    power: Power
    power_serial: int = 1
    """Grows with every start, stop, pause and resume, so that `start` works again after the guest shut itself down."""
    stop_mode: StopMode = StopMode.GRACEFUL
    grace_seconds: int = 60
    reboot_serial: int = 0
    reset_serial: int = 0
    deleted: bool = False
    nics: tuple[DesiredNic, ...] = ()
    numa_nodes: tuple[int, ...] = ()
    """The nodes of its host that it was fitted to, with its epoch; empty where the host has one node only."""
    cpu: GuestCpu | None = None
    """The CPU of its host's pool, for its next start; None: the host's own choice. Never stored with the VM: what it runs with is what it was started with."""
    tuning: Mapping[str, str] = field(default_factory=dict)
    """Settings of VM knobs that hold on its host, by `planning.tuning.resolve`. Never stored with the VM, as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedVm:
    """What the agent found and did, at one moment."""

    id: VmId
    epoch: int
    generation: int
    """The newest generation that is wholly in force (or has failed for good, see `error`)."""
    state: VmState
    reason: StateReason = StateReason.NONE
    stage: str = ""
    """What is being done right now, for progress bars: 'fetching image', 'creating disk' ..."""
    progress: float = 0.0
    """0..1 within the stage's operation."""
    error: Problem | None = None
    error_generation: int = 0
    """The generation that `error` belongs to; 0 if none."""
    accelerator: str = ""
    """'kvm' or 'qemu' once it has been started."""
    cpu_features: tuple[str, ...] = ()
    """All CPU features that the guest runs with; empty: it does not run, or that is not known."""
    tuned: Mapping[str, str] = field(default_factory=dict)
    """Settings of VM knobs that the guest runs with, where they are not the default; empty: it does not run, or that is not known."""
    guest_agent: GuestAgent = GuestAgent.DISCONNECTED
    guest_addresses: tuple[str, ...] = ()
    """As the guest reports them; the address the platform gave is in DesiredVm.nics."""
    started_at: float = 0.0
    """Unix seconds of the last start; 0 when not running."""
    restarts: int = 0
    """How often the restart policy started it again since the user's last power verb."""
    changed_at: float = 0.0
    """Unix seconds (the host's clock) of the last change of `state`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """The joined view of one VM: desired, where it is, and what was last heard."""

    desired: DesiredVm
    protected: bool
    host_id: HostId | None
    observed: ObservedVm | None
    host_heard: bool
    """Whether its host is connected (or was, within the lease)."""
    migration_id: MigrationId | None = None
    """The move that holds it: until that has ended one way or the other, it takes no verbs."""
    migration_unknown: bool = False
    """It cannot be told where that move has left it."""
    created_at: float
    revision: int


_SHOWN: Mapping[VmState, EffectiveState] = {
    VmState.ABSENT: EffectiveState.CREATING,
    VmState.PREPARING: EffectiveState.CREATING,
    VmState.STOPPED: EffectiveState.STOPPED,
    VmState.STARTING: EffectiveState.STARTING,
    VmState.RUNNING: EffectiveState.RUNNING,
    VmState.PAUSED: EffectiveState.PAUSED,
    VmState.STOPPING: EffectiveState.STOPPING,
    VmState.CRASHED: EffectiveState.CRASHED,
    VmState.FAILED: EffectiveState.ERROR,
    VmState.REMOVING: EffectiveState.DELETING,
}


def effective(vm: Vm) -> EffectiveState:
    """What to show: deletion first, then whether it has a host, then whether that host is heard, then what it observed."""
    if vm.desired.deleted:
        return EffectiveState.DELETING
    if vm.host_id is None:
        return EffectiveState.PENDING
    if not vm.host_heard:
        return EffectiveState.UNKNOWN
    if vm.observed is None:
        return EffectiveState.CREATING
    return _SHOWN[vm.observed.state]
