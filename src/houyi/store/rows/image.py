"""Mutations of images. Desired (`image`) is written by commands, what is true (`image_status`) by the import."""

from sqlalchemy import Connection, insert, select, update

from houyi.model.errors import NotFound
from houyi.model.ids import ImageId
from houyi.model.image import Image, ImageStatus
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop, put


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

    return Mutation("image", image.id, image.project_id, write)


def update_image(image: Image) -> Mutation:
    """Name and spec. :raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        values = {"name": image.name, "public": image.spec.public, "doc": dump(image.spec), "revision": revision}
        connection.execute(update(tables.image).where(tables.image.c.id == image.id).values(**values))

    return Mutation("image", image.id, image.project_id, write)


def set_image_status(image: Image, status: ImageStatus) -> Mutation:
    """:raise NotFound: `image_not_found`: it was removed meanwhile."""

    def write(connection: Connection, revision: int) -> None:
        if connection.execute(select(tables.image.c.id).where(tables.image.c.id == image.id)).first() is None:
            raise NotFound("image_not_found", f"image {image.name!r} was deleted meanwhile")
        put(connection, tables.image_status, {"image_id": image.id}, {"state": status.state.value, "doc": dump(status), "revision": revision})

    return Mutation("image", image.id, image.project_id, write)


def mark_image_deleted(image: Image) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(update(tables.image).where(tables.image.c.id == image.id).values(deleted=True, revision=revision))

    return Mutation("image", image.id, image.project_id, write)


def remove_image(image_id: ImageId, project_id: str) -> Mutation:
    """When its files are gone. :raise Conflict: `in_use`: a VM that is being deleted still refers to it."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.image, {"id": image_id})

    return Mutation("image", image_id, project_id, write, Op.DELETE)
