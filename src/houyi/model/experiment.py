"""An experiment: a change of a VM's settings, tried in interleaved runs, and what became of it (docs/rfd/0003-see-and-tune.md).

    measuring -> judging -> keeping ------> done      (better, and asked to keep: the VM has the change)
        |           |          |
        |           +----------+
        v           v
        rolling_back -> done | failed | cancelled     (the VM has the settings that it had before)

Four records with one writer each: the wish (`ExperimentSpec`, commands), the course (`ExperimentCourse`, the workflow), and the trial that is under way as its host
saw it (`ObservedTrial`, intake). `Experiment` joins them. A trial is one run as the VM's host makes it; one that was disturbed is void, and is made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import ExperimentId, OperationId, ProjectId, VmId
from houyi.model.series import Arm, Judgement, Measure, Rules, Run


class ExperimentState(StrEnum):
    MEASURING = "measuring"
    JUDGING = "judging"
    """There are enough runs, and the verdict is written."""
    KEEPING = "keeping"
    """The VM is given the change for good."""
    ROLLING_BACK = "rolling_back"
    """The VM is given back the settings that it had before."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_E = ExperimentState
NEXT: Mapping[ExperimentState, frozenset[ExperimentState]] = {
    _E.MEASURING: frozenset({_E.JUDGING, _E.ROLLING_BACK}),
    _E.JUDGING: frozenset({_E.KEEPING, _E.ROLLING_BACK}),
    _E.KEEPING: frozenset({_E.DONE, _E.ROLLING_BACK}),
    _E.ROLLING_BACK: frozenset({_E.DONE, _E.FAILED, _E.CANCELLED}),
    _E.DONE: frozenset(),
    _E.FAILED: frozenset(),
    _E.CANCELLED: frozenset(),
}
"""An experiment outside it is a bug. Note what is missing: nothing but KEEPING and ROLLING_BACK ends one, and DONE with the change comes through KEEPING only."""

ENDED = frozenset({_E.DONE, _E.FAILED, _E.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What a VM is asked to run with: `VmSpec.profile` and `VmSpec.knobs`."""

    profile: str = ""
    knobs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the guest does while it is measured."""

    argv: tuple[str, ...] = ()
    """A command in the guest, without a shell; empty: nothing is started, what runs there is observed."""
    seconds: float = 60.0
    """For how long is observed; with a command, how long it may take at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentSpec:
    """The wish. Only `cancelled` may change."""

    before: Tuning
    change: Tuning
    workload: Workload
    rules: Rules = field(default_factory=Rules)
    main: str = ""
    """The measure that decides; empty: the most telling one that the warm-up runs have."""
    keep: bool = False
    """Whether the VM keeps the change if it is better on the main measure and worse on none."""
    restart: bool = False
    """Whether the VM is stopped and started for every change of settings: where they take effect at a start only."""
    settle_seconds: float = 5.0
    """From when settings are in force until a run begins."""
    cancelled: bool = False


class Phase(StrEnum):
    """Where a change of settings by way of a restart stands."""

    STEADY = "steady"
    STOPPING = "stopping"
    """It was told to stop, and keeps its settings until it has."""
    STARTING = "starting"
    """It was told to start with the settings of `arm`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentCourse:
    """Where it stands: written by the workflow only."""

    state: ExperimentState = ExperimentState.MEASURING
    arm: Arm | None = None
    """Under whose settings the VM was put last; None: nothing has been done with it."""
    phase: Phase = Phase.STEADY
    serials: tuple[int, int, int] = (0, 0, 0)
    """The VM's power, reboot and reset serials as of the last look: anything else was somebody's verb."""
    ground: str = ""
    """On which host, and since which start of the guest, the runs of the present block were made: they are comparable only there."""
    ready_at: float = 0.0
    """Since when the settings are in force, as the server knows; 0: they are not."""
    trial: int = 0
    """Number of the last trial that was ordered."""
    ordered: bool = False
    """It is under way."""
    voided: int = 0
    """How many trials were disturbed."""
    runs: tuple[Run, ...] = ()
    measures: tuple[Measure, ...] = ()
    """What is compared, the main one first: chosen after the warm-up, which counts for nothing else."""
    judgement: Judgement | None = None
    kept: bool = False
    why: str = ""
    """What it waits for, or why it ended so: one sentence."""
    error: Problem | None = None
    stirred_at: float = 0.0
    """When it last came on, Unix seconds of the server."""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredTrial:
    """What a host is told: make this run now, once."""

    experiment_id: ExperimentId
    number: int
    vm_id: VmId
    epoch: int
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTrial:
    """A trial that is over, as its host made it."""

    experiment_id: ExperimentId
    number: int
    void: str = ""
    """Why it counts for nothing (the guest was started again meanwhile ...); it can be made again. '': it counts."""
    error: Problem | None = None
    """The workload cannot be run, or failed: making it again would not help."""
    seconds: float = 0.0
    """How long it took, by the host's monotonic clock."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """What the host counted about the VM meanwhile: see `planning.tuning.measures`."""
    said: Mapping[str, float] = field(default_factory=dict)
    """What the workload said about itself: 'work', 'latency_us:p99' ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    id: ExperimentId
    project_id: ProjectId
    vm_id: VmId
    vm_name: str
    operation_id: OperationId
    spec: ExperimentSpec
    course: ExperimentCourse
    trial: ObservedTrial | None
    """The newest that its host has told of."""
    created_at: float
    revision: int
