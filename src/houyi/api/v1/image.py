"""/v1/images: disk images, and the upload of their content."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, shown
from houyi.api.caller import Asking, AtDesk, Caller, Filter, Reference
from houyi.api.desk import Desk
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.image import create_image, delete_image, update_image_desired
from houyi.control.control import Context
from houyi.control.intake.image import receive
from houyi.model.errors import Failed, Invalid
from houyi.model.ids import ImageId
from houyi.model.image import Image as ModelImage
from houyi.model.image import ImageSpec, ImageState
from houyi.model.operation import Operation as ModelOperation
from houyi.store.views.image import get_image, list_images
from houyi.store.views.names import page_with_names, project_of, with_names
from houyi.store.views.news import news_with_names, one_by_one
from houyi.wire.v1.image import Image, ImageContent, ImageCreate, ImagePage, ImageUpdate, show_image
from houyi.wire.v1.operation import Operation, show_operation

router = APIRouter(prefix="/v1/images", tags=["images"])

OPERATIONS = "/v1/operations/"

_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
_CONTENT = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("", response_model=ImagePage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch, name: Filter = None, state: ImageState | None = None) -> Response:
    """List images, one's own and public ones, or watch them."""

    def keep(image: Image) -> bool:
        return name in (None, image.name) and state in (None, image.state)

    filtered = None if name is None and state is None else keep
    if watching.on:
        find = one_by_one(get_image)
        return await watched(
            desk,
            asking,
            watching,
            lambda since, scope: lambda c: news_with_names(c, since, "image", scope, find, project_of, shared=True),
            show_image,
            filtered,
        )
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_images(c, scope, page), project_of), show_image, filtered)


@router.post("", status_code=202, response_model=Operation)
async def create(desk: AtDesk, done: DoneOnce, body: ImageCreate) -> Response:
    """Register an image. With a url the server downloads it; without, PUT its content next. The operation ends when it is available."""
    spec = ImageSpec(**{name: getattr(body, name) for name in ImageCreate.model_fields if name != "name"})

    async def act(ctx: Context) -> ModelOperation:
        return (await create_image(desk.control, ctx, body.name, spec))[1]

    return await done.answer(act, show_operation, status=202, location=OPERATIONS)


@router.get("/{image}", response_model=Image)
async def show(desk: AtDesk, asking: Asking, image: Reference) -> Response:
    """Show an image."""
    return shown(await _shown(desk, asking, image))


async def _found(desk: Desk, asking: Caller, reference: str) -> ModelImage:
    scope = asking.scope_of(reference)
    return await desk.control.store.read(lambda c: get_image(c, reference, scope))


async def _shown(desk: Desk, asking: Caller, reference: str) -> Image:
    scope = asking.scope_of(reference)
    found = await desk.control.store.read(lambda c: with_names(c, get_image(c, reference, scope), project_of))
    return show_image(found.what, found.names)


@router.patch("/{image}", response_model=Image)
async def update(desk: AtDesk, asking: Asking, image: Reference, body: ImageUpdate, if_match: IfMatchHeader = None) -> Response:
    """Change what is said of an image."""
    found = await _found(desk, asking, image)
    changed = await update_image_desired(desk.control, asking.context, found.id, name=body.name, public=body.public, os=body.os, expected=expected(if_match))
    return shown(await _shown(desk, asking, changed.id))


@router.delete("/{image}", status_code=202, response_model=Operation)
async def delete(desk: AtDesk, asking: Asking, image: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete an image that no VM was made from."""
    found = await _found(desk, asking, image)
    operation = await delete_image(desk.control, asking.context, found.id, expected=expected(if_match))
    return shown(show_operation(operation), 202, location=f"{OPERATIONS}{operation.id}")


@router.get("/{image}/content", response_model=ImageContent)
async def received(desk: AtDesk, asking: Asking, image: Reference) -> Response:
    """How much of its content was received: where an upload goes on."""
    return shown(_received(await _found(desk, asking, image)))


def _received(image: ModelImage) -> ImageContent:
    return ImageContent(state=image.status.state, received_bytes=image.status.received_bytes)


@router.put(
    "/{image}/content", response_model=Image, responses={202: {"model": ImageContent, "description": "A part of it was received."}}, openapi_extra=_CONTENT
)
async def upload(
    request: Request,
    desk: AtDesk,
    asking: Asking,
    image: Reference,
    content_range: Annotated[
        str | None, Header(alias="Content-Range", description="'bytes FIRST-LAST/TOTAL' of a part; without it the body is the whole.", max_length=80)
    ] = None,
) -> Response:
    """Upload an image's content, whole or from where an earlier upload stopped. It is checked before it is available."""
    found = await _found(desk, asking, image)
    offset, end, total = _range(content_range, request.headers.get("content-length"))
    try:
        await receive(desk.control, asking.context, ImageId(found.id), offset, total, _chunks(request))
    except Failed as partial:
        if partial.code != "upload_incomplete" or total is None or end is None or partial.extra.get("received_bytes") != end < total:
            raise
        return shown(_received(await _found(desk, asking, found.id)), 202)
    return shown(await _shown(desk, asking, found.id))


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


def _range(content_range: str | None, content_length: str | None) -> tuple[int, int | None, int | None]:
    """(offset, where this part ends, size of the whole), None where unknown. :raise Invalid: `content_range_invalid`."""
    length = int(content_length) if content_length and content_length.isascii() and content_length.isdigit() and len(content_length) < 16 else None
    if content_range is None:
        return 0, length, length
    match = _RANGE.fullmatch(content_range)
    if match is None:
        raise Invalid("content_range_invalid", "Content-Range is 'bytes FIRST-LAST/TOTAL', such as 'bytes 0-1048575/4194304'")
    first, end = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if first > end or (total is not None and end > total) or (length is not None and length != end - first):
        raise Invalid("content_range_invalid", "Content-Range does not agree with itself or with Content-Length: correct it")
    return first, end, total
