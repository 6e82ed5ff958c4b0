"""What the import of images and its readers need of the platform, and the door for those who read a whole image (the agents' listener)."""

from typing import Protocol

from houyi.base.clock import Clock
from houyi.base.config import Settings
from houyi.base.ids import Ids
from houyi.control.image_files import ImageReader, open_content
from houyi.model.errors import Conflict
from houyi.model.ids import ImageId, ProjectId
from houyi.model.image import ImageState
from houyi.store.store import Store
from houyi.store.views.image import get_image


class Platform(Protocol):
    """The part of `control.Control` that is used here."""

    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def settings(self) -> Settings: ...


class Asker(Protocol):
    """The part of `control.Context` that is used here."""

    @property
    def scope(self) -> ProjectId | None:
        """The project whose images may be seen; None: all."""
        ...


async def open_image(control: Platform, image_id: ImageId) -> ImageReader:
    """`await reader(offset, length)`, then `reader.close()`.

    :raise NotFound: `image_not_found`, `image_content_not_found`. :raise Conflict: `image_not_available`.
    """
    image = await control.store.read(lambda connection: get_image(connection, image_id, None))
    if image.status.state is not ImageState.AVAILABLE:
        raise Conflict("image_not_available", f"image {image.name!r} is {image.status.state}: wait until it is available")
    return open_content(control.settings, image_id)
