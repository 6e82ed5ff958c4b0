"""Imports that are under way go on, whatever happened to this process; files that belong to nothing are removed.

A URL import is a task of this process. It is started for every image with a URL that is neither available, refused nor failed, so a restart of the
server only interrupts it; the part that was received stays. Uploads are driven by their clients: here they are only put back to waiting.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress

import stamina

from houyi.base.log import get_log
from houyi.control import image_files
from houyi.control.control import Control
from houyi.control.downloads import download
from houyi.control.intake.image import fail, finish, forget, go_on, take
from houyi.control.reconcilers.runner import Reconciler, run_forever
from houyi.model.errors import Conflict, Failed, HouyiError, Invalid, NotFound, Problem, TooLarge, Unavailable
from houyi.model.ids import ImageId, ProjectId
from houyi.model.image import Image, ImageState
from houyi.store.journal import open_operations
from houyi.store.views.image import all_image_ids, get_image, unsettled_images

_log = get_log(__name__)
_AT_ONCE = 2
"""Imports side by side of one project: more only share the same line and disk. One that trickles for hours keeps only its own project waiting."""
_ATTEMPTS = 8
"""Of connections that bring nothing new; waits of 1 to 60 s between them, about three minutes in all."""
_SECONDS = 12 * 3600.0
"""Longest that one import may take: 64 GiB at 1.5 MB/s."""
_RESUMED = frozenset({ImageState.WAITING, ImageState.RECEIVING, ImageState.CHECKING})


class ImageImports:
    """`once` looks at everything and returns; the imports it starts run on until `close`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._tasks: dict[ImageId, asyncio.Task[None]] = {}
        self._slots: dict[ProjectId, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))

    async def once(self) -> None:
        self._tasks = {image_id: task for image_id, task in self._tasks.items() if not task.done()}
        kept = image_files.kept(self._control.settings)
        known = await self._control.store.read(all_image_ids)  # after the files: whoever makes a file has made the record before
        for image_id in kept - known:
            _log.info("image_leftover_removed", image_id=image_id)
            image_files.remove(self._control.settings, image_id)
        for image in await self._control.store.read(unsettled_images):
            try:
                await self._settle(image)
            except (HouyiError, OSError) as error:  # one that cannot be settled holds up no other
                _log.warning("image_not_settled", image_id=image.id, error=str(error))

    async def _settle(self, image: Image) -> None:
        state = image.status.state
        if image.deleted:
            await self._stop(image.id)
            await forget(self._control, image)
        elif image.spec.url and state in _RESUMED and not await self._wanted(image):
            await self._cancel(image.id)
        elif image.id in self._tasks:
            return
        elif image.spec.url and state in _RESUMED:
            self._tasks[image.id] = asyncio.create_task(self._import(image), name=f"import {image.id}")
        elif not image.spec.url and state in (ImageState.RECEIVING, ImageState.CHECKING):
            with suppress(Conflict, NotFound, Invalid, TooLarge):  # Conflict: its upload is alive; a refusal is written down with the image
                await go_on(self._control, image.id)

    async def _wanted(self, image: Image) -> bool:
        """Whether the operation that asked for the import is still open: people cancel an import by cancelling that."""
        return bool(await self._control.store.read(lambda connection: open_operations(connection, "image", image.id)))

    async def _cancel(self, image_id: ImageId) -> None:
        await self._stop(image_id)
        # Now that nothing else writes it: it may have ended well after we looked, which also closes its operation.
        image = await self._control.store.read(lambda connection: get_image(connection, image_id, None))
        if image.status.state in _RESUMED:
            image_files.remove(self._control.settings, image_id)
            await fail(self._control, image, Problem("import_cancelled", "the import was cancelled: make another image to try again"))

    async def _stop(self, image_id: ImageId) -> None:
        task = self._tasks.pop(image_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _import(self, image: Image) -> None:
        async with self._slots[image.project_id]:
            await import_from_url(self._control, image.id)

    async def close(self) -> None:
        """Stop the imports; they go on at the next start."""
        for image_id in list(self._tasks):
            await self._stop(image_id)


async def run_imports(control: Control, holder: str) -> None:
    """The reconciler "images", until cancelled; its imports end with it."""
    imports = ImageImports(control)
    try:
        await run_forever(control, Reconciler("images", lambda _: imports.once()), holder)
    finally:
        await imports.close()


async def import_from_url(control: Control, image_id: ImageId) -> None:
    """Receive an image from its URL, check it, and write down how it ended. Raises nothing but cancellation; the part then stays."""
    try:
        part = image_files.Part.open(control.settings, image_id)
    except (Conflict, OSError) as error:
        _log.info("image_not_imported", image_id=image_id, reason=str(error))
        return
    try:
        image = await control.store.read(lambda connection: get_image(connection, image_id, None))
        part.leave(image.status.state)
        if image.status.state not in _RESUMED:
            return  # it was brought to its end before we had the part
        problem = await _run(control, image, part)
        if problem is not None:
            _log.warning("image_import_failed", image_id=image_id, code=problem.code)
            await fail(control, await control.store.read(lambda connection: get_image(connection, image_id, None)), problem)
    except NotFound:
        part.drop()  # deleted meanwhile
    except Conflict as error:  # somebody else brought it to its end
        _log.info("image_not_imported", image_id=image_id, reason=error.code)
    finally:
        part.close()


async def _run(control: Control, image: Image, part: image_files.Part) -> Problem | None:
    """None: available, or refused and written down as such."""
    try:
        if image.status.state is not ImageState.CHECKING:
            part.take_back()
            async with asyncio.timeout(_SECONDS):
                image = await _receive(control, image, part)
        await finish(control, image, part)
    except TimeoutError:
        return Problem("download_timeout", f"the import took more than {_SECONDS / 3600:g} hours: try a nearer server, or upload the image")
    except (Invalid, TooLarge) as error:
        return error.problem if error.code.startswith("image_url") else None
    except (Failed, Unavailable) as error:
        return error.problem
    except OSError as error:
        return Problem("image_not_written", f"the image could not be written ({error.strerror}): look at the server's disk")
    return None


async def _receive(control: Control, image: Image, part: image_files.Part) -> Image:
    """Download until all is there. Attempts that brought something do not count."""
    while True:
        before = part.size
        try:
            async for attempt in stamina.retry_context(on=Unavailable, attempts=_ATTEMPTS, timeout=None, wait_initial=1.0, wait_max=60.0):
                with attempt:
                    return await _attempt(control, image, part)
        except Unavailable:
            if part.size <= before or not part.tag:
                raise


async def _attempt(control: Control, image: Image, part: image_files.Part) -> Image:
    async with download(image.spec.url, part.size, part.tag, private=control.settings.server.image_url_private) as answer:
        if answer.offset != part.size:
            await part.restart()
        part.tag = answer.tag
        received = await take(control, image, part, answer.total, answer.chunks)
        if answer.total is not None and part.size < answer.total:
            raise Unavailable("download_interrupted", f"the connection ended after {part.size} of {answer.total} bytes: it is tried again")
        return received
