"""The door for those who read a whole image: the agents' listener, on behalf of hosts."""

from houyi.control.control import Control
from houyi.control.image_files import ImageReader, open_content
from houyi.model.errors import Conflict
from houyi.model.ids import ImageId
from houyi.model.image import ImageState
from houyi.store.views.image import get_image


async def open_image(control: Control, image_id: ImageId) -> ImageReader:
    """`await reader(offset, length)`, then `reader.close()`.

    :raise NotFound: `image_not_found`, `image_content_not_found`. :raise Conflict: `image_not_available`.
    """
    image = await control.store.read(lambda connection: get_image(connection, image_id, None))
    if image.status.state is not ImageState.AVAILABLE:
        raise Conflict("image_not_available", f"image {image.name!r} is {image.status.state}: wait until it is available")
    return open_content(control.settings, image_id)
