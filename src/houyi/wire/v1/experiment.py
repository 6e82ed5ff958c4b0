"""Experiments as JSON."""

from typing import Annotated

from pydantic import Field

from houyi.model.experiment import Experiment as ModelExperiment
from houyi.model.experiment import ExperimentState, Tuning
from houyi.model.series import Arm, Effect, Judgement, Measure, Verdict
from houyi.wire.v1.shape import Asked, Bool, Failure, Id, Int, Number, Page, Revision, Shown, Text, Time, failure, rfc3339, rfc3339_or_none

Knobs = Annotated[dict[Text, Text], Field(max_length=256, description="Name of a knob to its value.")]


class ExperimentCreate(Asked):
    """What to try on a VM that runs, and how to measure it."""

    profile: Text | None = Field(None, description="The profile to try; empty: none; missing or null: the VM's own stays.")
    knobs: Knobs = Field(default_factory=dict, description="Knobs to try, beside those that the VM has.")
    command: list[Text] = Field(
        default_factory=list,
        max_length=64,
        description="Program and arguments, run in the guest by its agent without a shell. Its last line may be a number, the work that it has "
        'done, or JSON such as {"work": 1000, "latency_us": {"p99": 410}}. Empty: what runs there is observed.',
    )
    seconds: Number = Field(60.0, description="How long each run is observed; with a command, how long it may take at most.")
    runs: Int = Field(34, description="At most: 2 to warm up, then 4 for each block; at least 14.")
    measure: Text = Field("", description="What decides, such as exits_per_second; empty: the most telling measure that there is.")
    keep: Bool = Field(False, description="Whether the VM keeps the change if it is better on this measure and worse on none.")
    restart: Bool = Field(False, description="Whether the VM may be stopped and started before every other run: for knobs that take effect at a start only.")
    settle_seconds: Number = Field(5.0, description="How long the guest is left alone between a change of its settings and a run.")


class ExperimentSettings(Shown):
    """What a VM is asked to run with."""

    profile: str
    knobs: dict[str, str]


class ExperimentMeasure(Shown):
    """What is compared."""

    name: str
    unit: str
    less_is_better: bool
    matters: float = Field(description="The smallest effect that matters: 0.05 is 5 %.")


class ExperimentEffect(Shown):
    """What the change did to one measure."""

    name: str
    blocks: int
    before: float
    after: float
    ratio: float = Field(description="after / before.")
    low: float = Field(description="The interval of the ratio, after correction for several measures and several looks.")
    high: float | None = Field(description="null: no bound is known.")
    p: float
    verdict: Verdict


class ExperimentVerdict(Shown):
    """What can be said so far; final when `enough`."""

    verdict: Verdict
    blocks: int
    enough: bool
    keeps: bool = Field(description="Better on the first measure and worse on none.")
    why: str
    effects: list[ExperimentEffect]


class ExperimentRun(Shown):
    """One run that counts (the first two warm up)."""

    arm: Arm
    values: dict[str, float]


class Experiment(Shown):
    id: Id
    project_id: Id
    vm_id: Id
    vm_name: str = Field(description="As it was when the experiment was asked for.")
    state: ExperimentState
    progress: float = Field(description="0..1.")
    why: str = Field(description="What it waits for, or why it ended so.")
    error: Failure | None
    before: ExperimentSettings
    change: ExperimentSettings
    command: list[str]
    seconds: float
    measure: str
    keep: bool
    kept: bool = Field(description="Whether the VM has kept the change.")
    restart: bool
    cancelled: bool = Field(description="Whether its cancellation was asked for.")
    runs_made: int
    runs_max: int
    runs_void: int = Field(description="Runs that were disturbed and made again.")
    measures: list[ExperimentMeasure] = Field(description="What is compared, the main measure first; chosen after the first two runs.")
    verdict: ExperimentVerdict | None
    runs: list[ExperimentRun] | None = Field(description="null in lists.")
    operation_id: Id
    created_at: Time
    ended_at: Time | None
    revision: Revision


class ExperimentPage(Page[Experiment]):
    """A page of experiments."""


def show_experiment(experiment: ModelExperiment, progress: float, runs_max: int, *, whole: bool) -> Experiment:
    """:param progress: 0..1. :param whole: with every run's values."""
    spec, course = experiment.spec, experiment.course
    return Experiment(
        id=experiment.id,
        project_id=experiment.project_id,
        vm_id=experiment.vm_id,
        vm_name=experiment.vm_name,
        state=course.state,
        progress=progress,
        why=course.why,
        error=failure(course.error),
        before=_settings(spec.before),
        change=_settings(spec.change),
        command=list(spec.workload.argv),
        seconds=spec.workload.seconds,
        measure=spec.main,
        keep=spec.keep,
        kept=course.kept,
        restart=spec.restart,
        cancelled=spec.cancelled,
        runs_made=len(course.runs),
        runs_max=runs_max,
        runs_void=course.voided,
        measures=[_measure(one) for one in course.measures],
        verdict=_verdict(course.judgement),
        runs=[ExperimentRun(arm=run.arm, values=dict(run.values)) for run in course.runs] if whole else None,
        operation_id=experiment.operation_id,
        created_at=rfc3339(experiment.created_at),
        ended_at=rfc3339_or_none(course.ended_at),
        revision=experiment.revision,
    )


def _settings(tuning: Tuning) -> ExperimentSettings:
    return ExperimentSettings(profile=tuning.profile, knobs=dict(tuning.knobs))


def _measure(measure: Measure) -> ExperimentMeasure:
    return ExperimentMeasure.model_validate(measure, from_attributes=True)


def _effect(effect: Effect) -> ExperimentEffect:
    return ExperimentEffect.model_validate(effect, from_attributes=True)


def _verdict(judgement: Judgement | None) -> ExperimentVerdict | None:
    if judgement is None:
        return None
    return ExperimentVerdict(
        verdict=judgement.verdict,
        blocks=judgement.blocks,
        enough=judgement.enough,
        keeps=judgement.keeps,
        why=judgement.why,
        effects=[_effect(effect) for effect in judgement.effects],
    )
