"""An image's content: received (upload or download), looked at, and only then available. The only writer of ImageStatus.

waiting -> receiving -> checking -> available | refused | failed. What was received of an interrupted import stays and is gone on with; what was
refused is removed at once. Operations on the image move on, and end, with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control import image_files
from houyi.control.control import Context, Control
from houyi.model.errors import Conflict, Failed, HouyiError, Invalid, NotFound, Problem, TooLarge
from houyi.model.event import Event
from houyi.model.ids import EventId, ImageId
from houyi.model.image import Image, ImageState, ImageStatus
from houyi.model.operation import Operation, OperationState
from houyi.planning.image import inspect
from houyi.store.journal import move_operation, open_operations
from houyi.store.mutation import Mutation
from houyi.store.rows.event import insert_event
from houyi.store.rows.image import remove_image, set_image_status
from houyi.store.views.image import get_image

_log = get_log(__name__)
_WRITE_BYTES = 1 << 20
"""Collected before a thread writes it: a hop for every packet would cost more than the write."""
_STATUS_SECONDS = 1.0
"""How often received_bytes is written: people watch it, the database should not."""
_BEFORE_RECEIVING = frozenset({ImageState.WAITING, ImageState.RECEIVING})
_RECEIVED = 0.9
"""Progress of the operation when all is received; the rest is checking."""


async def receive(control: Control, ctx: Context, image_id: ImageId, offset: int, total: int | None, chunks: AsyncIterator[bytes]) -> Image:
    """Take an upload from `offset` on (0: from the start) and check it; `total` is the whole size in bytes if known. Returns the available image.

    When the upload breaks off the image is `waiting` again with what was received, and the next upload may go on at `received_bytes`.

    :raise NotFound: `image_not_found`. :raise Conflict: `image_has_url`, `image_not_waiting`, `image_busy`, `upload_offset`.
    :raise TooLarge: `image_too_large`. :raise Invalid: what `planning.image.inspect` refuses, `image_digest_differs`, `upload_too_long`.
    :raise Failed: `disk_full`, `upload_incomplete`.
    """
    image = await control.store.read(lambda connection: get_image(connection, image_id, ctx.scope))
    if ctx.scope not in (None, image.project_id):
        raise NotFound("image_not_found", f"there is no image {image_id!r} of this project: a public image is its owner's to fill")
    if image.spec.url:
        raise Conflict("image_has_url", f"image {image.name!r} is imported from its URL: make another image to upload content")
    _expect_before_receiving(image)
    part = image_files.Part.open(control.settings, image_id)
    try:
        image = await control.store.read(lambda connection: get_image(connection, image_id, ctx.scope))  # another upload may have ended before we had the part
        part.leave(image.status.state)
        _expect_before_receiving(image)
        part.take_back()
        if offset == 0 and part.size:
            await part.restart()
        if offset != part.size:
            raise Conflict("upload_offset", f"{part.size} bytes of the image were received: go on at that offset, or at 0", received_bytes=part.size)
        try:
            image = await take(control, image, part, total, chunks)
            if total is not None and part.size < total:
                raise Failed("upload_incomplete", f"{part.size} of {total} bytes were received: go on at that offset", received_bytes=part.size)
        except (Invalid, TooLarge):
            raise
        except BaseException as error:
            problem = error.problem if isinstance(error, HouyiError) else Problem("upload_incomplete", "the upload broke off: go on where it stopped")
            # Also when the caller is cancelled (its client went away): the wish to write this down must outlive it.
            back = replace(image.status, state=ImageState.WAITING, received_bytes=part.size, error=problem)
            await asyncio.shield(_set(control, image, back))
            raise
        return await finish(control, image, part)
    finally:
        part.close()


def _expect_before_receiving(image: Image) -> None:
    if image.status.state not in _BEFORE_RECEIVING:
        raise Conflict("image_not_waiting", f"image {image.name!r} is {image.status.state}: make another image")


async def take(control: Control, image: Image, part: image_files.Part, total: int | None, chunks: AsyncIterator[bytes]) -> Image:
    """Append `chunks` to `part`, within the limits. Returns the image as `receiving`. A refusal is written down before it is raised."""
    limit = control.settings.server.max_image_bytes
    image = await _set(control, image, replace(image.status, state=ImageState.RECEIVING, received_bytes=part.size, error=None))
    waiting = bytearray()
    try:
        _check_size(total or part.size, limit)
        told = control.clock.monotonic()
        async for data in chunks:
            waiting += data
            _check_size(part.size + len(waiting), limit)
            if total is not None and part.size + len(waiting) > total:
                raise Invalid("upload_too_long", f"more than the announced {total} bytes were sent: send the whole again")
            if len(waiting) >= _WRITE_BYTES:
                await part.write(bytes(waiting))
                waiting.clear()
            if control.clock.monotonic() - told >= _STATUS_SECONDS:
                told = control.clock.monotonic()
                image = await _set(control, image, replace(image.status, received_bytes=part.size), total)
        await part.write(bytes(waiting))
    except (Invalid, TooLarge) as error:
        await _end(control, image, part, ImageState.REFUSED, error)
        raise
    except Exception:
        await part.write(bytes(waiting))  # what came before the interruption need not come again
        raise
    return image


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge("image_too_large", f"the image has more than {limit} bytes: that is the limit (setting server.max_image_bytes)", limit_bytes=limit)


async def finish(control: Control, image: Image, part: image_files.Part) -> Image:
    """Check what was received, and make it available or refuse it.

    :raise Invalid: as `receive`. :raise TooLarge: `image_too_large`.
    """
    status = replace(image.status, state=ImageState.CHECKING, received_bytes=part.size, error=None)
    image = await _set(control, image, status)
    try:
        limit = control.settings.server.max_image_bytes
        digest = await part.digest()
        if image.spec.sha256 and digest != image.spec.sha256.lower():
            raise Invalid("image_digest_differs", f"the content's SHA-256 is {digest}, not the {image.spec.sha256} asked for: it was damaged or replaced")
        found = await asyncio.to_thread(inspect, part.read, part.size, image.spec.format, limit)
    except (Invalid, TooLarge) as error:
        await _end(control, image, part, ImageState.REFUSED, error)
        raise
    await part.keep()
    _log.info("image_available", image_id=image.id, format=found.format.value, size_bytes=part.size)
    available = ImageStatus(
        state=ImageState.AVAILABLE,
        format=found.format,
        size_bytes=part.size,
        virtual_size_bytes=found.virtual_size_bytes,
        sha256=digest,
        received_bytes=part.size,
    )
    return await _set(control, image, available)


async def go_on(control: Control, image_id: ImageId) -> None:
    """After a restart: an upload that was cut off waits again; a check that was cut off is done again.

    :raise Conflict: `image_busy`: its upload is alive. :raise Invalid: as `receive`. :raise TooLarge: `image_too_large`.
    """
    part = image_files.Part.open(control.settings, image_id)
    try:
        image = await control.store.read(lambda connection: get_image(connection, image_id, None))
        part.leave(image.status.state)
        if image.status.state is ImageState.CHECKING:
            await finish(control, image, part)
        elif image.status.state is ImageState.RECEIVING:
            await _set(control, image, replace(image.status, state=ImageState.WAITING, received_bytes=part.size))
    finally:
        part.close()


async def fail(control: Control, image: Image, problem: Problem) -> Image:
    """The import ended without content."""
    return await _set(control, image, replace(image.status, state=ImageState.FAILED, error=problem))


async def forget(control: Control, image: Image) -> None:
    """Remove a deleted image's files, then its record; the record stays while VMs that are being deleted still refer to it."""
    image_files.remove(control.settings, image.id)
    for operation in await control.store.read(lambda connection: open_operations(connection, "image", image.id)):
        ended = replace(operation, state=OperationState.CANCELLED, stage="the image was deleted", ended_at=control.clock.now())
        with suppress(Conflict):  # it has ended just now
            await control.store.apply([move_operation(ended)])
    try:
        await control.store.apply([remove_image(image.id, image.project_id)])
    except (Conflict, NotFound) as error:
        _log.info("image_kept", image_id=image.id, reason=error.code)


async def _end(control: Control, image: Image, part: image_files.Part, state: ImageState, error: HouyiError) -> None:
    part.drop()
    _log.info("image_refused", image_id=image.id, code=error.code)
    await _set(control, image, replace(image.status, state=state, error=error.problem))


async def _set(control: Control, image: Image, status: ImageStatus, total: int | None = None) -> Image:
    """Write a status, move the image's open operations on, and tell of its end, all at once."""
    now = control.clock.now()
    mutations: list[Mutation] = [set_image_status(image, status)]
    if status.state is not image.status.state and status.state in _TOLD:
        mutations.append(insert_event(_event(control, image, status, now)))
    while True:
        operations = await control.store.read(lambda connection: open_operations(connection, "image", image.id))
        moves = [move_operation(moved) for operation in operations if (moved := _moved(operation, status, total, now)) != operation]
        try:
            await control.store.apply([*mutations, *moves])
        except Conflict as lost:
            if lost.code != "operation_ended":  # cancelled between our look and our write: look again
                raise
        else:
            return replace(image, status=status)


def _moved(operation: Operation, status: ImageStatus, total: int | None, now: float) -> Operation:
    """The operation as the image's status has it; `total` is the size in bytes, if known."""
    if status.state not in _MOVES:
        return operation
    state, stage, progress = _MOVES[status.state]
    if state is not OperationState.RUNNING:
        return replace(operation, state=state, stage=stage, progress=progress, error=status.error, ended_at=now)
    if status.state is ImageState.RECEIVING and total:
        progress = _RECEIVED * min(1.0, status.received_bytes / total)
    return replace(operation, state=state, stage=stage, progress=max(progress, operation.progress))


_MOVES = {
    ImageState.RECEIVING: (OperationState.RUNNING, "receiving", 0.0),
    ImageState.CHECKING: (OperationState.RUNNING, "checking", _RECEIVED),
    ImageState.AVAILABLE: (OperationState.DONE, "", 1.0),
    ImageState.REFUSED: (OperationState.FAILED, "", 1.0),
    ImageState.FAILED: (OperationState.FAILED, "", 1.0),
}
_TOLD = frozenset({ImageState.AVAILABLE, ImageState.REFUSED, ImageState.FAILED})


def _event(control: Control, image: Image, status: ImageStatus, now: float) -> Event:
    return Event(
        id=EventId(control.ids.new()),
        project_id=image.project_id,
        kind=f"image.{status.state}",
        target_kind="image",
        target_id=image.id,
        target_name=image.name,
        detail=status.error.detail if status.error else f"image {image.name} is {status.state}",
        data={"code": status.error.code} if status.error else {},
        actor="platform",
        at=now,
    )
