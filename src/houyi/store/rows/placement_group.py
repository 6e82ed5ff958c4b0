"""Mutations of placement groups. Who is in one is written with the VM (rows/vm.py)."""

from sqlalchemy import Connection, insert

from houyi.model.placement_group import PlacementGroup
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop


def insert_placement_group(group: PlacementGroup) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.placement_group).values(
                id=group.id, project_id=group.project_id, name=group.name, doc=dump(group.spec), created_at=group.created_at, revision=revision
            )
        )

    return Mutation("placement_group", group.id, group.project_id, write)


def delete_placement_group(group: PlacementGroup) -> Mutation:
    """:raise Conflict: `in_use` while a VM is in it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.placement_group, {"id": group.id})

    return Mutation("placement_group", group.id, group.project_id, write, Op.DELETE)
