"""Uploads over HTTP: whole, in parts, broken off and taken up again, refused."""

import hashlib

import pytest

from unit.api.world import World

CONTENT = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 2_000


async def registered(world: World, name: str, **more: object) -> str:
    async with world.client("member") as client:
        asked = await client.post("/v1/images", json={"name": name, **more})
        assert asked.status_code == 202, asked.text
        return str(asked.json()["id"])


async def test_a_whole_upload(world: World) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    operation = await registered(world, "whole", sha256=sha256, os="debian")
    async with world.client("member") as client:
        done = await client.put("/v1/images/whole/content", content=CONTENT, headers={"Content-Type": "application/octet-stream"})
        assert done.status_code == 200, done.text
        image = done.json()
        assert (image["state"], image["format"], image["sha256"], image["os"]) == ("available", "raw", sha256, "debian")
        assert (image["size_bytes"], image["received_bytes"], image["project_name"]) == (len(CONTENT), len(CONTENT), "mine")
        assert (await client.get(f"/v1/operations/{operation}")).json()["state"] == "done"
        again = await client.put("/v1/images/whole/content", content=CONTENT)
        assert (again.status_code, again.json()["code"]) == (409, "image_not_waiting")


async def test_in_parts(small_world: World) -> None:
    await registered(small_world, "parts")
    total = len(CONTENT)
    async with small_world.client("member") as client:

        async def put(first: int, end: int) -> tuple[int, dict[str, object]]:
            headers = {"Content-Range": f"bytes {first}-{end - 1}/{total}"}
            answer = await client.put("/v1/images/parts/content", content=CONTENT[first:end], headers=headers)
            return answer.status_code, answer.json()

        assert await put(0, 200_000) == (202, {"state": "waiting", "received_bytes": 200_000})
        assert (await client.get("/v1/images/parts/content")).json() == {"state": "waiting", "received_bytes": 200_000}
        status, problem = await put(100_000, 300_000)
        assert (status, problem["code"], problem["extra"]) == (409, "upload_offset", {"received_bytes": 200_000})
        assert (await put(200_000, 300_000))[0] == 202
        status, image = await put(300_000, total)
        assert (status, image["state"], image["sha256"]) == (200, "available", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Range": "bytes 5-4/100"}, "content_range_invalid"),
        ({"Content-Range": "bytes 0-99/50"}, "content_range_invalid"),
        ({"Content-Range": "bytes 0-5/100"}, "content_range_invalid"),
        ({"Content-Range": "items 0-9/10"}, "content_range_invalid"),
    ],
)
async def test_a_range_that_cannot_be(small_world: World, headers: dict[str, str], code: str) -> None:
    image = await small_world.new("image")
    async with small_world.client("member") as client:
        answer = await client.put(f"/v1/images/{image}/content", content=b"0123456789", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"QFI\xfb" + bytes(4096), 400, "image_format_unknown"), (bytes((8 << 20) + 1), 413, "image_too_large"), (b"", 400, "image_empty")],
    ids=["a damaged qcow2", "too large", "empty"],
)
async def test_hostile_content_is_refused(small_world: World, content: bytes, status: int, code: str) -> None:
    name = code.replace("_", "-")
    operation = await registered(small_world, name)
    async with small_world.client("member") as client:
        answer = await client.put(f"/v1/images/{name}/content", content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        shown = (await client.get(f"/v1/images/{name}")).json()
        assert (shown["state"], shown["error"]["code"]) == ("refused", code)
        ended = (await client.get(f"/v1/operations/{operation}")).json()
        assert (ended["state"], ended["error"]["code"]) == ("failed", code)


async def test_an_upload_that_breaks_off_goes_on(small_world: World, url: str) -> None:
    """The client's connection is cut in the middle; what came is kept."""
    import asyncio

    await registered(small_world, "broken")
    host, port = url.removeprefix("http://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"PUT /v1/images/broken/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small_world.tokens['member']}\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    writer.write(head.encode() + CONTENT[:300_000])
    await writer.drain()
    writer.close()
    async with small_world.client("member") as client:
        for _ in range(200):
            received = (await client.get("/v1/images/broken/content")).json()
            if received["state"] == "waiting" and received["received_bytes"]:
                break
            await asyncio.sleep(0.05)
        first = received["received_bytes"]
        assert 0 < first <= 300_000
        headers = {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        done = await client.put("/v1/images/broken/content", content=CONTENT[first:], headers=headers)
    assert (done.status_code, done.json()["sha256"]) == (200, hashlib.sha256(CONTENT).hexdigest())
