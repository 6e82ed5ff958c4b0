"""The import of images, over a real store and a real web server on loopback that misbehaves."""

import asyncio
import gzip
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import stamina

from houyi.base.clock import SystemClock
from houyi.base.config import ServerSettings, Settings
from houyi.base.ids import SeededIds
from houyi.control import image_files
from houyi.control.commands.operation import cancel_operation
from houyi.control.control import Context, Control
from houyi.control.downloads import is_public
from houyi.control.images import open_image
from houyi.control.intake.image import go_on, receive
from houyi.control.reconcilers.images import ImageImports
from houyi.model.errors import Conflict, HouyiError, NotFound
from houyi.model.ids import ImageId, OperationId, ProjectId
from houyi.model.image import DiskFormat, Image, ImageSpec, ImageState, ImageStatus
from houyi.model.operation import Operation, OperationState
from houyi.model.project import Project
from houyi.model.token import Role
from houyi.store.journal import insert_operation
from houyi.store.mutation import Mutation, Precondition
from houyi.store.reads import View
from houyi.store.rows.image import insert_image, mark_image_deleted, set_image_status
from houyi.store.rows.project import insert_project
from houyi.store.store import Store
from houyi.store.views.image import all_image_ids, get_image
from houyi.store.views.operation import get_operation

T = TypeVar("T")
MINE = ProjectId("11111111-1111-4111-8111-111111111111")
OTHER = ProjectId("22222222-2222-4222-8222-222222222222")
CONTENT = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 12_000
LIMIT = 8 << 20


def asker(project: ProjectId = MINE) -> Context:
    return Context("token:test", project, Role.MEMBER)


@pytest.fixture
async def desk(tmp_path: Path, store_url: str) -> AsyncIterator[Control]:
    store = await Store.open(store_url)
    settings = Settings(state_dir=tmp_path, server=ServerSettings(image_url_private=True, max_image_bytes=LIMIT, disk_kept_mib=0))
    for number, project in enumerate((MINE, OTHER)):
        await store.apply([insert_project(Project(id=project, name=f"p{number}", created_at=1.0, revision=0))])
    with stamina.set_testing(True, attempts=4, cap=True):
        yield Control(store, SystemClock(), SeededIds(1), settings)
    await store.close()


async def new_image(desk: Control, *, project_id: ProjectId = MINE, **spec: object) -> Image:
    image_id = ImageId(desk.ids.new())
    image = Image(
        id=image_id,
        project_id=project_id,
        name=f"i{image_id[:8]}",
        spec=ImageSpec(**spec),
        status=ImageStatus(),
        created_at=1.0,
        revision=0,  # type: ignore[arg-type]
    )
    await desk.store.apply([insert_image(image), insert_operation(asked(image, image_id))])
    return image


def asked(image: Image, operation_id: str) -> Operation:
    ids = {"id": OperationId(operation_id), "project_id": MINE, "target_id": image.id}
    return Operation(**ids, verb="image.import", target_kind="image", target_generation=0, cancellable=True, created_at=1.0)


async def now(desk: Control, image: Image) -> Image:
    return await desk.store.read(lambda connection: get_image(connection, image.id, None))


async def operation_of(desk: Control, image: Image) -> Operation:
    return await desk.store.read(lambda connection: get_operation(connection, image.id, None))


async def sent(data: bytes, *, then: Exception | None = None) -> AsyncIterator[bytes]:
    for batch in range(0, len(data), 100_000):
        yield data[batch : batch + 100_000]
    if then is not None:
        raise then


def files(desk: Control) -> set[str]:
    return {path.name for path in image_files.folder(desk.settings).iterdir()}


# Uploads


async def test_an_upload_becomes_available(desk: Control) -> None:
    image = await new_image(desk)
    done = await receive(desk, asker(), image.id, 0, len(CONTENT), sent(CONTENT))
    assert done.status.state is ImageState.AVAILABLE
    assert (done.status.format, done.status.size_bytes) == (DiskFormat.RAW, len(CONTENT))
    assert done.status.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (await now(desk, image)).status == done.status
    assert (await operation_of(desk, image)).state is OperationState.DONE
    assert files(desk) == {image.id}
    reader = await open_image(desk, image.id)
    assert await reader(500, 100) == CONTENT[500:600]
    assert await reader(len(CONTENT) - 5, 100) == CONTENT[-5:]
    reader.close()


async def test_an_upload_that_broke_off_goes_on(desk: Control) -> None:
    image = await new_image(desk, sha256=hashlib.sha256(CONTENT).hexdigest())
    with pytest.raises(ConnectionResetError):
        await receive(desk, asker(), image.id, 0, len(CONTENT), sent(CONTENT[:1_500_000], then=ConnectionResetError()))
    status = (await now(desk, image)).status
    assert (status.state, status.received_bytes) == (ImageState.WAITING, 1_500_000)
    with pytest.raises(Conflict) as caught:
        await receive(desk, asker(), image.id, 7, None, sent(b""))
    assert (caught.value.code, caught.value.extra["received_bytes"]) == ("upload_offset", 1_500_000)
    done = await receive(desk, asker(), image.id, 1_500_000, len(CONTENT), sent(CONTENT[1_500_000:]))
    assert done.status.sha256 == image.spec.sha256


async def test_an_upload_that_ended_is_not_begun_again_by_one_that_looked_before(desk: Control) -> None:
    image = await new_image(desk)
    late = LateStore(desk.store)
    second = asyncio.create_task(receive(replace(desk, store=late), asker(), image.id, 0, 3, sent(b"new")))
    await late.read_first.wait()
    await receive(desk, asker(), image.id, 0, len(CONTENT), sent(CONTENT))
    late.answer.set()
    with pytest.raises(Conflict) as caught:
        await second
    assert caught.value.code == "image_not_waiting"
    assert (await now(desk, image)).status.state is ImageState.AVAILABLE
    assert files(desk) == {image.id}
    with pytest.raises(Conflict) as caught:
        await desk.store.apply([set_image_status(image, ImageStatus(state=ImageState.RECEIVING))])
    assert caught.value.code == "image_moved_on"


class HeldStore(Store):
    """Another's store that holds one write, before or after it is done, until `go_on`."""

    def __init__(self, store: Store, number: int, *, after: bool) -> None:
        self.store, self.left, self.after = store, number, after
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, view: View[T]) -> T:
        return await self.store.read(view)

    async def apply(self, mutations: Sequence[Mutation], preconditions: Sequence[Precondition] = ()) -> int:
        self.left -= 1
        if not self.left and not self.after:
            await self._hold()
        revision = await self.store.apply(mutations, preconditions)
        if not self.left and self.after:
            await self._hold()
        return revision

    async def _hold(self) -> None:
        self.held.set()
        await self.go_on.wait()


async def test_an_upload_that_is_just_being_written_down_is_left_alone(desk: Control) -> None:
    """Its content is in its place, and the record still says checking: what a crash leaves looks the same, but for the lock."""
    image = await new_image(desk)
    slow = HeldStore(desk.store, 3, after=False)  # receiving, checking, available
    upload = asyncio.create_task(receive(replace(desk, store=slow), asker(), image.id, 0, len(CONTENT), sent(CONTENT)))
    await slow.held.wait()
    assert ((await now(desk, image)).status.state, files(desk)) == (ImageState.CHECKING, {image.id})
    await ImageImports(desk).once()
    slow.go_on.set()
    assert (await upload).status.state is ImageState.AVAILABLE
    assert files(desk) == {image.id}
    await go_on(desk, image.id)  # by who has looked before and gets the lock now
    assert (await now(desk, image)).status.state is ImageState.AVAILABLE
    assert files(desk) == {image.id}


async def test_an_image_deleted_while_it_is_checked_is_gone(desk: Control) -> None:
    image = await new_image(desk)
    slow = HeldStore(desk.store, 2, after=True)
    upload = asyncio.create_task(receive(replace(desk, store=slow), asker(), image.id, 0, len(CONTENT), sent(CONTENT)))
    await slow.held.wait()
    await desk.store.apply([mark_image_deleted(image)])
    await ImageImports(desk).once()
    slow.go_on.set()
    with pytest.raises(NotFound) as caught:
        await upload
    assert caught.value.code == "image_not_found"
    assert files(desk) == set()


async def test_one_that_cannot_be_settled_holds_up_no_other(desk: Control) -> None:
    stuck, gone = await new_image(desk), await new_image(desk)
    await desk.store.apply([set_image_status(stuck, ImageStatus(state=ImageState.RECEIVING)), mark_image_deleted(gone)])
    (image_files.folder(desk.settings) / f"{stuck.id}.part").mkdir()
    await ImageImports(desk).once()
    assert await desk.store.read(all_image_ids) == {stuck.id}


class LateStore(Store):
    """Another's store, whose first answer is held back until `answer`."""

    def __init__(self, store: Store) -> None:
        self.store, self.read_first, self.answer = store, asyncio.Event(), asyncio.Event()

    async def read(self, view: View[T]) -> T:
        found = await self.store.read(view)
        self.read_first.set()
        await self.answer.wait()
        return found

    async def apply(self, mutations: Sequence[Mutation], preconditions: Sequence[Precondition] = ()) -> int:
        return await self.store.apply(mutations, preconditions)


async def test_an_upload_may_start_over(desk: Control) -> None:
    image = await new_image(desk)
    with pytest.raises(HouyiError, match="go on at that offset"):
        await receive(desk, asker(), image.id, 0, len(CONTENT), sent(b"wrong"))
    done = await receive(desk, asker(), image.id, 0, None, sent(CONTENT))
    assert done.status.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("spec", "data", "total", "code"),
    [
        ({}, b"QFI\xfb" + bytes(4096), None, "image_format_unknown"),
        ({"format": DiskFormat.RAW}, b"QFI\xfb\0\0\0\3" + bytes(4096), None, "image_format_differs"),
        ({"sha256": "0" * 64}, CONTENT, None, "image_digest_differs"),
        ({}, bytes(LIMIT + 1), None, "image_too_large"),
        ({}, b"", LIMIT + 1, "image_too_large"),
        ({}, CONTENT, 1000, "upload_too_long"),
        ({}, b"", None, "image_empty"),
    ],
)
async def test_a_refused_upload_leaves_nothing(desk: Control, spec: dict[str, object], data: bytes, total: int | None, code: str) -> None:
    image = await new_image(desk, **spec)
    with pytest.raises(HouyiError) as caught:
        await receive(desk, asker(), image.id, 0, total, sent(data))
    assert caught.value.code == code
    status = (await now(desk, image)).status
    assert status.state is ImageState.REFUSED
    assert status.error == caught.value.problem
    operation = await operation_of(desk, image)
    assert (operation.state, operation.error) == (OperationState.FAILED, caught.value.problem)
    assert files(desk) == set()
    with pytest.raises(Conflict, match="refused"):
        await receive(desk, asker(), image.id, 0, None, sent(CONTENT))


async def test_two_uploads_at_once(desk: Control) -> None:
    image = await new_image(desk)
    going = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield CONTENT[:10]
        going.set()
        await asyncio.sleep(60)

    first = asyncio.create_task(receive(desk, asker(), image.id, 0, None, slowly()))
    await going.wait()
    with pytest.raises(Conflict) as caught:
        await receive(desk, asker(), image.id, 0, None, sent(CONTENT))
    assert caught.value.code == "image_busy"
    await ImageImports(desk).once()  # it must leave a living upload alone
    assert (await now(desk, image)).status.state is ImageState.RECEIVING
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await now(desk, image)).status.state is ImageState.WAITING


async def test_an_image_of_others(desk: Control) -> None:
    for public in (True, False):
        image = await new_image(desk, public=public)
        with pytest.raises(NotFound):
            await receive(desk, asker(OTHER), image.id, 0, None, sent(CONTENT))


async def test_a_full_disk_keeps_what_came(desk: Control) -> None:
    image = await new_image(desk)
    full = replace(desk, settings=desk.settings.model_copy(update={"server": ServerSettings(disk_kept_mib=1 << 40)}))
    with pytest.raises(HouyiError) as caught:
        await receive(full, asker(), image.id, 0, None, sent(CONTENT))
    assert caught.value.code == "disk_full"
    status = (await now(desk, image)).status
    assert (status.state, status.error) == (ImageState.WAITING, caught.value.problem)
    assert (await receive(desk, asker(), image.id, 0, None, sent(CONTENT))).status.state is ImageState.AVAILABLE


# Imports from a URL


class Web:
    """A web server of bytes: `answer(path, headers)` returns all that is sent before the connection is closed."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Awaitable[bytes]]
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:  # the client went before it asked
            writer.close()
            return
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        path = lines[0].split()[1]
        self.asked.append((path, headers))
        writer.write(await self.answer(path, headers))
        with suppress(ConnectionError):  # the client may have gone
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    web.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield web
    server.close()
    await server.wait_closed()


def response(body: bytes, *, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    all_headers = {"Content-Length": str(len(body) if length is None else length), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return f"HTTP/1.1 {status}\r\n".encode() + b"".join(f"{name}: {value}\r\n".encode() for name, value in all_headers.items()) + b"\r\n" + body


async def settled(desk: Control, image: Image) -> ImageStatus:
    imports = ImageImports(desk)
    await imports.once()
    for _ in range(1000):
        image = await now(desk, image)
        if image.status.state in (ImageState.AVAILABLE, ImageState.REFUSED, ImageState.FAILED):
            break
        await asyncio.sleep(0.02)
    await imports.close()
    return image.status


async def test_an_import_with_redirects(desk: Control, web: Web) -> None:
    async def answer(path: str, _headers: dict[str, str]) -> bytes:
        return response(b"", status="302 Found", Location="/b") if path == "/a" else response(CONTENT)

    web.answer = answer
    status = await settled(desk, await new_image(desk, url=f"{web.url}/a"))
    assert status.state is ImageState.AVAILABLE
    assert status.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert [path for path, _ in web.asked] == ["/a", "/b"]
    assert all(headers["host"] == web.url.removeprefix("http://") for _, headers in web.asked)


async def test_a_connection_that_is_cut_is_resumed(desk: Control, web: Web) -> None:
    async def answer(_path: str, headers: dict[str, str]) -> bytes:
        start = int(headers["range"].removeprefix("bytes=").removesuffix("-")) if "range" in headers else 0
        rest = CONTENT[start:]
        if start == 0:
            return response(rest[:1_200_000], length=len(rest), ETag='"v1"')
        assert headers["if-range"] == '"v1"'
        return response(rest, status="206 Partial Content", ETag='"v1"', Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")

    web.answer = answer
    status = await settled(desk, await new_image(desk, url=f"{web.url}/a"))
    assert status.state is ImageState.AVAILABLE
    assert status.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert web.asked[1][1]["range"] == "bytes=1200000-"


async def test_a_file_that_changed_meanwhile_starts_over(desk: Control, web: Web) -> None:
    turns = itertools.count()

    async def answer(_path: str, _headers: dict[str, str]) -> bytes:
        return response(b"old" * 100_000, length=10**6, ETag='"v1"') if next(turns) == 0 else response(CONTENT, ETag='"v2"')

    web.answer = answer
    status = await settled(desk, await new_image(desk, url=f"{web.url}/a"))
    assert status.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        (response(b"", status="404 Not Found"), ImageState.FAILED, "download_refused"),
        (response(b"", status="503 Service Unavailable"), ImageState.FAILED, "download_interrupted"),
        (response(CONTENT[:1000], length=5000), ImageState.FAILED, "download_interrupted"),
        (response(b"", length=LIMIT + 1), ImageState.REFUSED, "image_too_large"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(LIMIT + 1), ImageState.REFUSED, "image_too_large"),
        (response(gzip.compress(bytes(LIMIT * 4)), Content_Encoding="gzip"), ImageState.REFUSED, "image_compressed"),
        (response(b"", status="302 Found", Location="file:///etc/passwd"), ImageState.FAILED, "image_url_invalid"),
        (response(b"", status="302 Found", Location="http://u:p@localhost/"), ImageState.FAILED, "image_url_invalid"),
        (response(b"", status="302 Found", Location="/again"), ImageState.FAILED, "download_refused"),
        (response(CONTENT, status="206 Partial Content", Content_Range="bytes 9-10/11"), ImageState.FAILED, "download_refused"),
    ],
)
async def test_servers_that_misbehave(desk: Control, web: Web, reply: bytes, state: ImageState, code: str) -> None:
    async def answer(_path: str, _headers: dict[str, str]) -> bytes:
        return reply

    web.answer = answer
    image = await new_image(desk, url=f"{web.url}/a")
    status = await settled(desk, image)
    assert status.error is not None
    assert (status.state, status.error.code) == (state, code)
    assert (await operation_of(desk, image)).state is OperationState.FAILED


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/", "http://[::ffff:10.0.0.1]/"]
)
async def test_private_targets_are_refused(desk: Control, target: str) -> None:
    private = replace(desk, settings=desk.settings.model_copy(update={"server": ServerSettings(max_image_bytes=LIMIT)}))
    status = await settled(private, await new_image(desk, url=target))
    assert status.error is not None
    assert (status.state, status.error.code) == (ImageState.FAILED, "image_url_private")


def test_which_addresses_are_public() -> None:
    assert all(map(is_public, ("1.1.1.1", "2606:4700::1111")))
    private = ("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255")
    assert not any(map(is_public, private))
    assert not any(map(is_public, ("::1", "fe80::1%eth0", "fc00::1", "::ffff:1.1.1.1", "64:ff9b::a00:1", "2002:a00:1::1", "::")))


async def test_imports_that_trickle_hold_up_no_other_project(desk: Control, web: Web) -> None:
    for_ever = asyncio.Event()

    async def answer(path: str, _headers: dict[str, str]) -> bytes:
        if path != "/theirs":
            await for_ever.wait()
        return response(CONTENT)

    web.answer = answer
    mine = [await new_image(desk, url=f"{web.url}/{number}") for number in range(6)]
    theirs = await new_image(desk, project_id=OTHER, url=f"{web.url}/theirs")
    assert (await settled(desk, theirs)).state is ImageState.AVAILABLE
    assert {(await now(desk, image)).status.state for image in mine} <= {ImageState.WAITING, ImageState.RECEIVING}
    for_ever.set()


async def test_a_cancelled_import_stops(desk: Control, web: Web) -> None:
    began = asyncio.Event()

    release = asyncio.Event()

    async def answer(_path: str, _headers: dict[str, str]) -> bytes:
        began.set()
        await release.wait()
        return b""

    web.answer = answer
    image = await new_image(desk, url=f"{web.url}/a")
    imports = ImageImports(desk)
    await imports.once()
    await asyncio.wait_for(began.wait(), 10)
    await cancel_operation(desk, asker(), image.id)
    await imports.once()
    status = (await now(desk, image)).status
    assert status.error is not None
    assert (status.state, status.error.code) == (ImageState.FAILED, "import_cancelled")
    assert (await operation_of(desk, image)).state is OperationState.CANCELLED
    assert files(desk) == set()
    await imports.close()
    release.set()


async def test_an_import_that_cannot_be_written_ends(desk: Control, web: Web) -> None:
    async def answer(_path: str, _headers: dict[str, str]) -> bytes:
        return response(CONTENT, ETag='"v1"')

    web.answer = answer
    image = await new_image(desk, url=f"{web.url}/a")
    (image_files.folder(desk.settings) / f"{image.id}.part.tag").mkdir()
    status = await settled(desk, image)
    assert (status.state, status.error and status.error.code) == (ImageState.FAILED, "image_not_written")
    (image_files.folder(desk.settings) / f"{image.id}.part.tag").rmdir()


async def test_an_import_cut_off_just_before_it_was_written_down(desk: Control) -> None:
    image = await new_image(desk, url="http://127.0.0.1:1/never-asked-again")
    for state in (ImageState.RECEIVING, ImageState.CHECKING):
        await desk.store.apply([set_image_status(image, ImageStatus(state=state))])
    image_files.content_path(desk.settings, image.id).write_bytes(CONTENT)
    assert (await settled(desk, image)).state is ImageState.AVAILABLE
    assert files(desk) == {image.id}


async def test_content_that_a_restored_store_does_not_know_is_replaced(desk: Control) -> None:
    image = await new_image(desk)
    image_files.content_path(desk.settings, image.id).write_bytes(b"of another time")
    done = await receive(desk, asker(), image.id, 0, len(CONTENT), sent(CONTENT))
    assert done.status.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert files(desk) == {image.id}
    assert image_files.content_path(desk.settings, image.id).read_bytes() == CONTENT


async def test_a_restart_in_the_middle_of_an_import(desk: Control, web: Web) -> None:
    hang = asyncio.Event()

    async def answer(_path: str, headers: dict[str, str]) -> bytes:
        if "range" not in headers:
            hang.set()
            await asyncio.sleep(60)
        return response(CONTENT[1000:], status="206 Partial Content", Content_Range=f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}")

    web.answer = answer
    image = await new_image(desk, url=f"{web.url}/a")
    part = image_files.Part.open(desk.settings, image.id)
    await part.write(CONTENT[:1000])
    part.tag = '"v1"'
    part.close()
    assert (await settled(desk, image)).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert not hang.is_set()


# The reconciler


async def test_leftovers_and_deleted_images_are_removed(desk: Control) -> None:
    kept = await new_image(desk)
    await receive(desk, asker(), kept.id, 0, None, sent(CONTENT))
    gone = await new_image(desk)
    await receive(desk, asker(), gone.id, 0, None, sent(CONTENT))
    await desk.store.apply([mark_image_deleted(gone)])
    stray = image_files.folder(desk.settings) / "33333333-3333-4333-8333-333333333333.part"
    stray.write_bytes(b"x")
    await ImageImports(desk).once()
    assert files(desk) == {kept.id}
    assert await desk.store.read(all_image_ids) == {kept.id}


@pytest.mark.parametrize("name", ["", ".part"])
async def test_a_check_that_was_cut_off_is_done_again(desk: Control, name: str) -> None:
    image = await new_image(desk)
    (image_files.folder(desk.settings) / f"{image.id}{name}").write_bytes(CONTENT)
    for state in (ImageState.RECEIVING, ImageState.CHECKING):
        await desk.store.apply([set_image_status(image, ImageStatus(state=state))])
    await ImageImports(desk).once()
    assert (await now(desk, image)).status.state is ImageState.AVAILABLE
    assert files(desk) == {image.id}
