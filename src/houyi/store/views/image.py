"""Reads of images: a project sees its own and the public ones."""

from sqlalchemy import Connection, Row, Select, or_, select

from houyi.model.errors import NotFound
from houyi.model.ids import ImageId, ProjectId
from houyi.model.image import Image, ImageSpec, ImageState, ImageStatus
from houyi.model.names import is_id
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _query() -> Select[tuple[object, ...]]:
    table, status = tables.image, tables.image_status
    return select(table, status.c.doc.label("status_doc"), status.c.revision.label("status_revision")).join(status, status.c.image_id == table.c.id)


def _image(row: Row[tuple[object, ...]]) -> Image:
    return Image(
        id=ImageId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        spec=load(row.doc, ImageSpec),
        status=load(row.status_doc, ImageStatus),
        created_at=row.created_at,
        revision=max(row.revision, row.status_revision),
        deleted=row.deleted,
    )


def get_image(connection: Connection, reference: str, project_id: ProjectId | None) -> Image:
    """A project's own image hides a public one of the same name. :raise NotFound: `image_not_found`."""
    table = tables.image
    query = _query().where((table.c.id if is_id(reference) else table.c.name) == reference, ~table.c.deleted)
    if project_id is not None:
        query = query.where(or_(table.c.project_id == project_id, table.c.public))
        query = query.order_by(table.c.project_id != project_id, table.c.created_at)
    else:
        query = query.order_by(table.c.created_at)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("image_not_found", f"there is no image {reference!r}: see `houyi image list`")
    return _image(row)


def list_images(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[Image]:
    query = _query().where(~tables.image.c.deleted)
    if project_id is not None:
        query = query.where(or_(tables.image.c.project_id == project_id, tables.image.c.public))
    rows = connection.execute(paged(query, tables.image, ask))
    return cut([(row.created_at, row.id, _image(row)) for row in rows], newest_revision(connection), ask)


def unsettled_images(connection: Connection) -> list[Image]:
    """What the import has to look at: everything being received or checked, failed, or deleted with files that may still be there."""
    settled = (ImageState.AVAILABLE.value, ImageState.REFUSED.value)
    query = _query().where(or_(tables.image.c.deleted, tables.image_status.c.state.not_in(settled)))
    return [_image(row) for row in connection.execute(query.order_by(tables.image.c.created_at))]


def all_image_ids(connection: Connection) -> frozenset[ImageId]:
    """Every image with a record, deleted ones included: files of others are leftovers."""
    return frozenset(ImageId(i) for i in connection.execute(select(tables.image.c.id)).scalars())
