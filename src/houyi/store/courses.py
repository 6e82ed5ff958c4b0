"""The courses of moves and of experiments: written by their workflows only, as the journal is."""

from sqlalchemy import Connection, select, update

from houyi.model import experiment as experiments
from houyi.model.errors import NotFound, Stale
from houyi.model.experiment import Experiment, ExperimentCourse
from houyi.model.migration import ENDED, NEXT, Migration, MigrationCourse
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.mutation import Mutation


def move_course(migration: Migration, course: MigrationCourse) -> Mutation:
    """Put a move on a new course, if it is still on the one that was looked at.

    :raise Stale: `course_changed`: another server has moved it on. :raise NotFound: `migration_not_found`.
    """
    state = course.state
    if state is not migration.course.state and state not in NEXT[migration.course.state]:
        raise ValueError(f"{migration.course.state} may not become {state}")

    def write(connection: Connection, revision: int) -> None:
        table = tables.migration_course
        doc = connection.execute(select(table.c.doc).where(table.c.migration_id == migration.id)).scalar_one_or_none()
        if doc is None:
            raise NotFound("migration_not_found", f"there is no migration {migration.id}")
        if load(doc, MigrationCourse) != migration.course:
            raise Stale("course_changed", "another server has moved this migration on: look again")
        values = {"state": state.value, "ended": state in ENDED, "doc": dump(course), "revision": revision}
        connection.execute(update(table).where(table.c.migration_id == migration.id).values(**values))

    return Mutation("migration", migration.id, migration.project_id, write)


def move_experiment(experiment: Experiment, course: ExperimentCourse) -> Mutation:
    """As above, of an experiment. :raise Stale: `course_changed`. :raise NotFound: `experiment_not_found`."""
    state, was = course.state, experiment.course.state
    if state is not was and state not in experiments.NEXT[was]:
        raise ValueError(f"{was} may not become {state}")

    def write(connection: Connection, revision: int) -> None:
        table = tables.experiment_course
        doc = connection.execute(select(table.c.doc).where(table.c.experiment_id == experiment.id)).scalar_one_or_none()
        if doc is None:
            raise NotFound("experiment_not_found", f"there is no experiment {experiment.id}")
        if load(doc, ExperimentCourse) != experiment.course:
            raise Stale("course_changed", "another server has moved this experiment on: look again")
        values = {"ended": state in experiments.ENDED, "doc": dump(course), "revision": revision}
        connection.execute(update(table).where(table.c.experiment_id == experiment.id).values(**values))

    return Mutation("experiment", experiment.id, experiment.project_id, write)
