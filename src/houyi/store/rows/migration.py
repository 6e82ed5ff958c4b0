"""Mutations of moves: the wish (commands), the course (the workflow, through store/courses.py) and what an end observed (intake)."""

from sqlalchemy import Connection, insert, select, update

from houyi.model.errors import NotFound
from houyi.model.ids import HostId
from houyi.model.migration import Migration, MigrationSpec, ObservedMove
from houyi.store import tables
from houyi.store.docs import dump, load
from houyi.store.migration_docs import Asked
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def insert_migration(migration: Migration, asked: Asked) -> Mutation:
    """The wish, and a course that has not begun. :raise Conflict: `vm_migrating`: another move of the VM has not ended."""

    def write(connection: Connection, revision: int) -> None:
        values = {"project_id": migration.project_id, "vm_id": migration.vm_id, "epoch": migration.epoch, "created_at": migration.created_at}
        connection.execute(insert(tables.migration).values(id=migration.id, doc=dump(asked), revision=revision, **values))
        course = {"vm_id": migration.vm_id, "state": migration.course.state.value, "ended": False, "doc": dump(migration.course), "revision": revision}
        connection.execute(insert(tables.migration_course).values(migration_id=migration.id, **course))

    return Mutation("migration", migration.id, migration.project_id, write)


def update_migration(migration: Migration, spec: MigrationSpec) -> Mutation:
    """:raise NotFound: `migration_not_found`."""

    def write(connection: Connection, revision: int) -> None:
        table = tables.migration
        doc = connection.execute(select(table.c.doc).where(table.c.id == migration.id)).scalar_one_or_none()
        if doc is None:
            raise NotFound("migration_not_found", f"there is no migration {migration.id}")
        connection.execute(update(table).where(table.c.id == migration.id).values(doc=dump(load(doc, Asked).with_spec(spec)), revision=revision))

    return Mutation("migration", migration.id, migration.project_id, write)


def put_observed_move(migration: Migration, host_id: HostId, observed: ObservedMove) -> Mutation:
    """What one of its ends says."""

    def write(connection: Connection, revision: int) -> None:
        key = {"migration_id": migration.id, "host_id": host_id}
        put(connection, tables.migration_observed, key, {"doc": dump(observed), "revision": revision})

    return Mutation("migration", migration.id, migration.project_id, write)
