"""Mutations of projects."""

from sqlalchemy import Connection

from houyi.model.ids import ProjectId
from houyi.model.project import Project
from houyi.store import tables
from houyi.store.mutation import Act, Mutation, Op, Row, Rows
from houyi.store.rows.write import drop


def insert_project(project: Project) -> Mutation:
    """:raise Conflict: `name_taken`."""
    row = Row(Act.INSERT, tables.project, (project.id,), lambda revision: {"name": project.name, "created_at": project.created_at, "revision": revision})
    return Mutation("project", project.id, project.id, Rows([row]))


def delete_project(project_id: ProjectId) -> Mutation:
    """:raise Conflict: `in_use` when something still belongs to it. Its tokens, keys, placement groups, and ended operations go with it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.token, {"project_id": project_id})
        drop(connection, tables.ssh_key, {"project_id": project_id})
        drop(connection, tables.placement_group, {"project_id": project_id})
        drop(connection, tables.operation, {"project_id": project_id, "ended": True})
        drop(connection, tables.project, {"id": project_id})

    return Mutation("project", project_id, project_id, write, Op.DELETE)
