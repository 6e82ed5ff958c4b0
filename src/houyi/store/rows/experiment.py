"""Mutations of experiments: the wish (commands), the course (the workflow, through store/courses.py) and what its host tells of a trial (intake)."""

from sqlalchemy import Connection, insert, select, update

from houyi.model.errors import NotFound
from houyi.model.experiment import Experiment, ExperimentSpec, ObservedTrial
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.experiment_docs import AskedExperiment
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def insert_experiment(experiment: Experiment) -> Mutation:
    """The wish, and a course that has not begun. :raise Conflict: `vm_under_experiment`: another one with the VM has not ended."""
    asked = AskedExperiment(vm_name=experiment.vm_name, operation_id=experiment.operation_id, spec=experiment.spec)

    def write(connection: Connection, revision: int) -> None:
        values = {"project_id": experiment.project_id, "vm_id": experiment.vm_id, "created_at": experiment.created_at}
        connection.execute(insert(tables.experiment).values(id=experiment.id, doc=dump(asked), revision=revision, **values))
        course = {"vm_id": experiment.vm_id, "ended": False, "doc": dump(experiment.course), "revision": revision}
        connection.execute(insert(tables.experiment_course).values(experiment_id=experiment.id, **course))

    return Mutation("experiment", experiment.id, experiment.project_id, write)


def update_experiment(experiment: Experiment, spec: ExperimentSpec) -> Mutation:
    """:raise NotFound: `experiment_not_found`."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.experiment
        doc = connection.execute(select(table.c.doc).where(table.c.id == experiment.id)).scalar_one_or_none()
        if doc is None:
            raise NotFound("experiment_not_found", f"there is no experiment {experiment.id}")
        asked = load(doc, AskedExperiment).with_spec(spec)
        connection.execute(update(table).where(table.c.id == experiment.id).values(doc=dump(asked), revision=revision))

    return Mutation("experiment", experiment.id, experiment.project_id, write)


def put_observed_trial(experiment: Experiment, trial: ObservedTrial) -> Mutation:
    """What the VM's host tells of the trial that it was asked for."""

    def write(connection: Connection, revision: int) -> None:
        put(connection, tables.experiment_trial, {"experiment_id": experiment.id}, {"doc": dump(trial), "revision": revision})

    return Mutation("experiment", experiment.id, experiment.project_id, write)
