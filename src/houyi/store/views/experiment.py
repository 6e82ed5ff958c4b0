"""Reads of experiments: their three records joined; and what a host is told of the trials that it is to make."""

from collections.abc import Iterable

from sqlalchemy import Connection, Row, Select, select

from houyi.model.errors import NotFound
from houyi.model.experiment import DesiredTrial, Experiment, ExperimentCourse, ObservedTrial
from houyi.model.ids import ExperimentId, HostId, ProjectId, VmId
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.experiment_docs import AskedExperiment
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _query() -> Select[tuple[object, ...]]:
    experiment, course, trial = tables.experiment, tables.experiment_course, tables.experiment_trial
    columns = (
        *(experiment, course.c.doc.label("course_doc"), course.c.revision.label("course_revision")),
        *(trial.c.doc.label("trial_doc"), trial.c.revision.label("trial_revision")),
    )
    return select(*columns).join(course, course.c.experiment_id == experiment.c.id).outerjoin(trial, trial.c.experiment_id == experiment.c.id)


def _experiment(row: Row[tuple[object, ...]]) -> Experiment:
    asked = load(row.doc, AskedExperiment)
    return Experiment(
        id=ExperimentId(row.id),
        project_id=ProjectId(row.project_id),
        vm_id=VmId(row.vm_id),
        vm_name=asked.vm_name,
        operation_id=asked.operation_id,
        spec=asked.spec,
        course=load(row.course_doc, ExperimentCourse),
        trial=load(row.trial_doc, ObservedTrial) if row.trial_doc else None,
        created_at=row.created_at,
        revision=max(row.revision, row.course_revision, row.trial_revision or 0),
    )


def get_experiment(connection: Connection, experiment_id: str, project_id: ProjectId | None) -> Experiment:
    """:raise NotFound: `experiment_not_found`."""
    query = _query().where(tables.experiment.c.id == experiment_id)
    if project_id is not None:
        query = query.where(tables.experiment.c.project_id == project_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("experiment_not_found", f"there is no experiment {experiment_id!r}: see `houyi tune experiments`")
    return _experiment(row)


def experiments_by_id(connection: Connection, experiment_ids: Iterable[str], project_id: ProjectId | None = None) -> dict[str, Experiment]:
    """Those of them that are there, and that the project may see (None: every project)."""
    query = _query().where(tables.experiment.c.id.in_(list(experiment_ids)))
    if project_id is not None:
        query = query.where(tables.experiment.c.project_id == project_id)
    return {row.id: _experiment(row) for row in connection.execute(query)}


def list_experiments(connection: Connection, project_id: ProjectId | None, ask: Ask, *, vm_id: str | None = None, open_only: bool = False) -> Page[Experiment]:
    query = _query()
    if project_id is not None:
        query = query.where(tables.experiment.c.project_id == project_id)
    if vm_id is not None:
        query = query.where(tables.experiment.c.vm_id == vm_id)
    if open_only:
        query = query.where(~tables.experiment_course.c.ended)
    found = [_experiment(row) for row in connection.execute(paged(query, tables.experiment, ask))]
    return cut([(one.created_at, one.id, one) for one in found], newest_revision(connection), ask)


def open_experiments(connection: Connection) -> list[Experiment]:
    """Those that have not ended, oldest first."""
    query = _query().where(~tables.experiment_course.c.ended).order_by(tables.experiment.c.created_at, tables.experiment.c.id)
    return [_experiment(row) for row in connection.execute(query)]


def open_experiment_of(connection: Connection, vm_id: VmId) -> Experiment | None:
    """The one that the VM is under."""
    row = connection.execute(_query().where(~tables.experiment_course.c.ended, tables.experiment.c.vm_id == vm_id)).first()
    return None if row is None else _experiment(row)


def trials_of(connection: Connection, host_id: HostId) -> tuple[DesiredTrial, ...]:
    """The trials that a host is to make now: of VMs that live there."""
    claim = tables.claim
    query = _query().add_columns(claim.c.epoch).join(claim, claim.c.id == tables.experiment.c.vm_id)
    rows = connection.execute(query.where(~tables.experiment_course.c.ended, claim.c.host_id == host_id).order_by(tables.experiment.c.id))
    under_way = [(_experiment(row), row.epoch) for row in rows]
    return tuple(
        DesiredTrial(experiment_id=one.id, number=one.course.trial, vm_id=one.vm_id, epoch=epoch, workload=one.spec.workload)
        for one, epoch in under_way
        if one.course.ordered
    )
