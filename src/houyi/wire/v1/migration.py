"""Moves of VMs as JSON."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict

from houyi.model.migration import Forecast as ModelForecast
from houyi.model.migration import Migration as ModelMigration
from houyi.model.migration import MigrationKind, MigrationState, MoveMode, ObservedMove, Order, Presence
from houyi.model.vm import MigrationPolicy
from houyi.wire.v1.shape import Asked, Bool, Failure, Id, Int, Number, Page, Revision, Shown, Text, Time, failure, rfc3339, rfc3339_or_none

Priority = Annotated[int, Strict(), Field(ge=0, le=100)]


class VmMigrate(Asked):
    """How to move a VM. What is missing or null is as the VM's own settings say."""

    to: Text = Field("", description="Name or id of the host to move it to; administrators only. Empty: the platform chooses.")
    policy: MigrationPolicy | None = Field(None, description="gentle: never slow the guest down; fast: as soon as possible; auto: gentle, but converge.")
    downtime_ms_max: Int | None = Field(None, description="For how long the guest may stand still, in milliseconds.")
    postcopy: Bool | None = Field(None, description="Whether post-copy may be used: it always converges, but a guest whose halves cannot meet again is lost.")
    bandwidth_mib_s_max: Number = Field(0.0, ge=0, le=1e6, description="Cap of this move; 0: none.")
    priority: Priority = Field(0, description="Higher goes first; a drain's are 10. Above 0: administrators only.")


class MigrationTerms(Shown):
    """Within which bounds it is steered."""

    policy: MigrationPolicy
    downtime_ms_max: float
    postcopy: bool
    bandwidth_mib_s_max: float = Field(description="0: no cap.")
    seconds_max: float = Field(description="After this long it is stopped; the VM stays where it was.")
    channels: int
    compressed: bool
    encrypted: bool


class MigrationFigures(Shown):
    """A live move as QEMU tells it; 0 where it tells nothing."""

    elapsed_seconds: float
    memory_total_mib: float
    memory_remaining_mib: float
    memory_sent_mib: float
    disk_total_mib: float
    disk_remaining_mib: float
    disk_sent_mib: float
    rounds: int = Field(description="How often all of memory was gone through.")
    dirty_mib_s: float = Field(description="How fast the guest wrote to its memory in the last round.")
    bandwidth_mib_s: float
    downtime_ms: float = Field(description="Expected, while it moves; as it was, at the end.")
    throttle_percent: int = Field(description="How much the guest is slowed down.")
    postcopy: bool


class MigrationEnd(Shown):
    """What one of its two hosts testifies."""

    presence: Presence = Field(description="What is of the VM on this host.")
    order: Order = Field(description="What the host is carrying out, or has carried out.")
    busy: bool
    over: bool = Field(description="Source: the attempt has ended.")
    went: bool = Field(description="Destination: the guest has executed here.")
    clean: bool = Field(description="Nothing of the VM or the move is left on this host.")
    heard: bool = Field(description="Whether the host is connected; if not, this is what it said last.")
    error: Failure | None


class MigrationForecast(Shown):
    """The verdict before a move, from what was measured."""

    converges: bool
    mode: MoveMode
    total_seconds: float
    downtime_ms: float
    sent_mib: float
    why: str
    inputs: dict[str, float] = Field(description="What it was computed from.")


class MigrationOutcome(Shown):
    """What became of it."""

    total_seconds: float
    downtime_ms: float = Field(description="As QEMU reports it.")
    gap_ms: float = Field(description="From the guest's stop at the source until it went on at the destination.")
    sent_mib: float
    rounds: int
    mode: MoveMode
    throttle_percent: int


class Migration(Shown):
    id: Id
    project_id: Id
    vm_id: Id
    vm_name: str = Field(description="As it was when the move was asked for.")
    kind: MigrationKind = Field(description="live: with its memory, while it runs; cold: a stopped VM's disk.")
    state: MigrationState
    progress: float = Field(description="0..1.")
    stage: str = Field(description="What is being done.")
    why: str = Field(description="Why it waits, failed, or why it cannot be told where the VM lives.")
    error: Failure | None
    source_id: Id
    source_name: str
    destination_id: Id
    destination_name: str
    reason: str = Field(description="asked, drain ...")
    priority: int
    cancelled: bool = Field(description="Whether its cancellation was asked for.")
    terms: MigrationTerms
    figures: MigrationFigures | None = Field(description="As QEMU tells it at the source, while it moves and at its end.")
    forecast: MigrationForecast | None = Field(description="What was expected of it.")
    outcome: MigrationOutcome | None = Field(description="What became of it; null: it has not arrived.")
    source: MigrationEnd | None
    destination: MigrationEnd | None
    operation_id: Id
    created_at: Time
    began_at: Time | None = Field(description="When its turn came.")
    moved_at: Time | None = Field(description="When the source was told to move it.")
    ended_at: Time | None
    revision: Revision


class MigrationPage(Page[Migration]):
    """A page of migrations."""


class MigrationPlan(Shown):
    """What `dry_run=true` answers: where the VM would go and how, and everything that stands against it."""

    vm_id: Id
    vm_name: str
    kind: MigrationKind
    source_id: Id | None
    source_name: str | None
    destination_id: Id | None
    destination_name: str | None
    terms: MigrationTerms
    claims: dict[str, int] = Field(description="What it would claim at the destination: resource class to amount.")
    blockers: list[Failure] = Field(description="Why it cannot be moved; empty: it can.")
    forecast: MigrationForecast | None = Field(description="null: it is cold, or cannot be moved.")


def show_migration(migration: ModelMigration, names: Mapping[str, str], progress: float, stage: str) -> Migration:
    """:param names: id to name of its hosts; '' is shown for one that was removed. :param progress: 0..1."""
    spec, course, source, destination = migration.spec, migration.course, migration.source, migration.destination
    return Migration(
        id=migration.id,
        project_id=migration.project_id,
        vm_id=migration.vm_id,
        vm_name=migration.vm_name,
        kind=spec.kind,
        state=course.state,
        progress=progress,
        stage=stage,
        why=course.why,
        error=failure(course.error),
        source_id=migration.source_id,
        source_name=names.get(migration.source_id, ""),
        destination_id=migration.destination_id,
        destination_name=names.get(migration.destination_id, ""),
        reason=spec.reason,
        priority=spec.priority,
        cancelled=spec.cancelled,
        terms=MigrationTerms.model_validate(spec.terms, from_attributes=True),
        figures=MigrationFigures.model_validate(source.figures, from_attributes=True) if source and source.figures else None,
        forecast=show_forecast(migration.forecast),
        outcome=MigrationOutcome.model_validate(course.outcome, from_attributes=True) if course.outcome else None,
        source=_end(source, migration.source_heard),
        destination=_end(destination, migration.destination_heard),
        operation_id=migration.operation_id,
        created_at=rfc3339(migration.created_at),
        began_at=rfc3339_or_none(course.began_at),
        moved_at=rfc3339_or_none(course.moved_at),
        ended_at=rfc3339_or_none(course.ended_at),
        revision=migration.revision,
    )


def show_forecast(forecast: ModelForecast | None) -> MigrationForecast | None:
    return None if forecast is None else MigrationForecast.model_validate(forecast, from_attributes=True)


def _end(seen: ObservedMove | None, heard: bool) -> MigrationEnd | None:
    if seen is None:
        return None
    return MigrationEnd(
        presence=seen.presence,
        order=seen.order,
        busy=seen.busy,
        over=seen.over,
        went=seen.went,
        clean=seen.clean,
        heard=heard,
        error=failure(seen.error),
    )
