"""Mutations of images. Desired (`image`) is written by commands, what is true (`image_status`) by the import."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from houyi.model.errors import Conflict, NotFound
from houyi.model.ids import ImageId
from houyi.model.image import NEXT, Image, ImageState, ImageStatus
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Look, Mutation, Op, Precondition
from houyi.store.rows.write import drop, put


def _audience(image: Image) -> str | None:
    """The project whose watchers are told; None: all projects', since all see a public image."""
    return None if image.spec.public else image.project_id


def expect_image_kept(image_id: ImageId) -> Precondition:
    """It has not been deleted since it was read. :raise NotFound: `image_not_found`."""

    def check(row: Mapping[str, Any] | None) -> None:
        if row is None or row["deleted"]:
            raise NotFound("image_not_found", "the image was deleted meanwhile: choose another")

    return Look(tables.image, (image_id,), ("deleted",), check)


def expect_image_unused(image: Image) -> Precondition:
    """No VM was made from it, but for those that are being deleted. :raise Conflict: `image_in_use`."""

    def check(connection: Connection) -> None:
        query = select(func.count()).select_from(tables.vm).where(tables.vm.c.image_id == image.id, ~tables.vm.c.deleted)
        users = connection.execute(query).scalar_one()
        if users:
            raise Conflict("image_in_use", f"VMs were made from image {image.name!r} ({users} in all): delete them first", users=users)

    return check


def insert_image(image: Image) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.image).values(
                id=image.id,
                project_id=image.project_id,
                name=image.name,
                public=image.spec.public,
                deleted=False,
                doc=dump(image.spec),
                created_at=image.created_at,
                revision=revision,
            )
        )
        put(connection, tables.image_status, {"image_id": image.id}, {"state": image.status.state.value, "doc": dump(image.status), "revision": revision})

    return Mutation("image", image.id, _audience(image), write)


def update_image(image: Image, *, was_public: bool) -> Mutation:
    """Name and spec. Who saw it as a public image is told as well. :raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        values = {"name": image.name, "public": image.spec.public, "doc": dump(image.spec), "revision": revision}
        connection.execute(update(tables.image).where(tables.image.c.id == image.id).values(**values))

    return Mutation("image", image.id, None if was_public else _audience(image), write)


def set_image_status(image: Image, status: ImageStatus) -> Mutation:
    """Along the table of its states: what another import brought to its end is not overwritten.

    :raise NotFound: `image_not_found`: it was removed meanwhile. :raise Conflict: `image_moved_on`: its state is one that this may not follow.
    """

    def write(connection: Connection, revision: int) -> None:
        found = connection.execute(select(tables.image_status.c.state).where(tables.image_status.c.image_id == image.id)).scalar_one_or_none()
        if found is None:
            raise NotFound("image_not_found", f"image {image.name!r} was deleted meanwhile")
        before = ImageState(found)
        if status.state is not before and status.state not in NEXT[before]:
            raise Conflict("image_moved_on", f"image {image.name!r} is {before.value} meanwhile: look at it again")
        put(connection, tables.image_status, {"image_id": image.id}, {"state": status.state.value, "doc": dump(status), "revision": revision})

    return Mutation("image", image.id, _audience(image), write)


def mark_image_deleted(image: Image) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(update(tables.image).where(tables.image.c.id == image.id).values(deleted=True, revision=revision))

    return Mutation("image", image.id, _audience(image), write)


def remove_image(image_id: ImageId, project_id: str) -> Mutation:
    """When its files are gone. :raise Conflict: `in_use`: a VM that is being deleted still refers to it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.image, {"id": image_id})

    return Mutation("image", image_id, project_id, write, Op.DELETE)
