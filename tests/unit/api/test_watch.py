"""List, then watch: whatever happens in between and meanwhile is told, in order, to whom it concerns."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from houyi.control.commands.image import update_image_desired
from houyi.model.vm import VmState
from houyi.store.changes import forget_changes
from houyi.store.rows.host import set_host_connected
from houyi.store.rows.vm import put_observed, remove_vm
from made import an_observation
from unit.api.world import World, serving


async def lines(client: httpx2.AsyncClient, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("GET", path, params={"watch": 1, **params}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "application/x-ndjson"
        async for line in answer.aiter_lines():
            yield json.loads(line)


async def until(stream: AsyncIterator[dict[str, Any]], enough: Any) -> list[dict[str, Any]]:
    """Lines until one of them (which is the last) is enough; bookmarks are left out."""
    found = []
    async with asyncio.timeout(20):
        async for line in stream:
            if line["op"] != "bookmark":
                found.append(line)
            if enough(line):
                return found
    raise AssertionError(f"the stream ended after {found}")


async def test_no_gap_under_concurrent_writes(world: World) -> None:
    """Watchers that start anywhere in a storm end with exactly what is there."""
    writers, each = 3, 9
    async with serving(world) as url, world.client("member", url) as client, world.client("admin", url) as admin:
        done = asyncio.Event()

        async def write(number: int) -> None:
            for count in range(each):
                name = f"k{number}-{count}"
                made = await client.post("/v1/networks", json={"name": name, "cidr": f"10.{number}.{count}.0/24"})
                assert made.status_code == 201, made.text
                if count % 3 == 0:
                    assert (await client.delete(f"/v1/networks/{name}")).status_code == 204

        async def follow(delay: float) -> set[str]:
            await asyncio.sleep(delay)
            listed = (await client.get("/v1/networks", params={"limit": 1000})).json()
            known = {item["id"] for item in listed["items"]}
            last = listed["revision"]
            async for line in lines(client, "/v1/networks", since=listed["revision"]):
                assert line["revision"] >= last
                last = line["revision"]
                if line["op"] == "put":
                    known.add(line["object"]["id"])
                elif line["op"] == "delete":
                    known.discard(line["id"])
                if done.is_set() and line["op"] == "bookmark" and line["revision"] >= world.store.revision:
                    return known
            raise AssertionError("the stream ended")

        followers = [asyncio.create_task(follow(delay)) for delay in (0.0, 0.05, 0.2, 0.5)]
        await asyncio.gather(*(write(number) for number in range(writers)))
        done.set()
        there = {item["id"] for item in (await admin.get("/v1/networks", params={"limit": 1000})).json()["items"]}
        assert len(there) == 1 + writers * (each - each // 3)
        async with asyncio.timeout(30):
            for known in await asyncio.gather(*followers):
                assert known == there


async def test_the_life_of_a_vm(world: World) -> None:
    async with serving(world) as url, world.client("member", url) as client, world.client("other", url) as stranger:
        since = (await client.get("/v1/vms")).json()["revision"]
        vm = await world.new_vm("watched", state=VmState.STARTING)
        await world.store.apply([put_observed(world.host_id, vm.project_id, an_observation(vm, VmState.RUNNING, epoch=1))])
        told = await until(lines(client, "/v1/vms", since=since), lambda line: line.get("object", {}).get("state") == "running")
        assert [line["object"]["name"] for line in told] == ["watched"], "one line for all that happened before the watch began"
        assert told[-1]["object"] == (await client.get("/v1/vms/watched")).json()

        stream = lines(client, "/v1/vms", since=told[-1]["revision"])
        first = await anext(stream)
        assert first["op"] == "bookmark"
        await world.store.apply([put_observed(world.host_id, vm.project_id, an_observation(vm, VmState.CRASHED, epoch=1))])
        assert (await until(stream, lambda line: line["op"] == "put"))[-1]["object"]["state"] == "crashed"
        await world.store.apply([remove_vm(vm.id, vm.project_id)])
        gone = (await until(stream, lambda line: line["op"] == "delete"))[-1]
        assert gone == {"op": "delete", "revision": world.store.revision, "id": vm.id}

        marked = world.store.revision
        theirs = await world.new_vm("theirs", project=world.theirs.id)
        told = await until(lines(stranger, "/v1/vms", since=since), lambda line: line["op"] == "put")
        assert [line["object"]["id"] for line in told] == [theirs.id], "nothing of another project, not even that it is gone"
        assert marked < told[0]["revision"]


async def test_a_filter_tells_what_no_longer_fits(small_world: World, url: str) -> None:
    vm = await small_world.new_vm("filtered")
    async with small_world.client("member", url) as client:
        stream = lines(client, "/v1/vms", since=small_world.store.revision, state="running")
        await anext(stream)
        await small_world.store.apply([put_observed(small_world.host_id, vm.project_id, an_observation(vm, VmState.STOPPED, epoch=1))])
        assert (await until(stream, lambda line: line.get("id") == vm.id))[-1]["op"] == "delete"
        await small_world.store.apply([put_observed(small_world.host_id, vm.project_id, an_observation(vm, VmState.RUNNING, epoch=1))])
        assert (await until(stream, lambda line: line.get("object", {}).get("id") == vm.id))[-1]["op"] == "put"


async def test_events_of_one_kind(small_world: World, url: str) -> None:
    """Events do not change: what does not fit is not told at all."""
    async with small_world.client("member", url) as client:
        stream = lines(client, "/v1/events", since=small_world.store.revision, kind="vm.test")
        await anext(stream)
        await client.post("/v1/images", json={"name": "noise"})
        event = await small_world.new_event()
        told = await until(stream, lambda line: line["op"] != "bookmark")
    assert [line["object"]["id"] for line in told] == [event]


async def test_a_host_that_is_lost_shows_in_its_vms(small_world: World, url: str) -> None:
    from houyi.control.reconcilers.hosts import expire_hosts

    vm = await small_world.new_vm("on-a-lost-host")
    async with small_world.client("member", url) as client:
        stream = lines(client, "/v1/vms", since=small_world.store.revision)
        await anext(stream)
        await expire_hosts(small_world.control)
        told = await until(stream, lambda line: line.get("object", {}).get("id") == vm.id)
        assert told[-1]["object"]["state"] == "unknown"
    await small_world.store.apply([set_host_connected(small_world.host_id, True, small_world.control.clock.now())])


async def test_a_public_image_comes_and_goes(world: World) -> None:
    image = await world.new_image("fickle")
    async with serving(world) as url, world.client("other", url) as client:
        stream = lines(client, "/v1/images", since=world.store.revision)
        await anext(stream)
        for public, op in ((True, "put"), (False, "delete")):
            await update_image_desired(world.control, world.context(), image.id, public=public)
            told = (await until(stream, lambda line: line["op"] != "bookmark"))[-1]
            assert (told["op"], told.get("id") or told["object"]["id"]) == (op, image.id)


async def test_too_old_is_said(world: World) -> None:
    for _ in range(5):
        await world.new_event()
    await world.store.apply([forget_changes(2)])
    async with world.client("admin") as client:
        answer = await client.get("/v1/events", params={"watch": 1, "since": 1})
    assert (answer.status_code, answer.json()["code"]) == (410, "watch_too_old")


async def test_a_watch_ends_with_its_token(small_world: World, url: str) -> None:
    from houyi.control.commands.token import create_token
    from houyi.model.token import Role

    _token, text = await create_token(small_world.control, small_world.context(), "watcher", Role.MEMBER)
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {text}"}, trust_env=False) as client:
        stream = lines(client, "/v1/vms")
        await anext(stream)
        async with small_world.client("admin") as admin:
            assert (await admin.delete("/v1/tokens/watcher", params={"project": "mine"})).status_code == 204
        async with asyncio.timeout(10):
            assert [line async for line in stream if line["op"] != "bookmark" and line.get("object", {}).get("name") == "watcher"] == []


async def test_an_operation_is_waited_for(small_world: World) -> None:
    number = await small_world.new("operation")
    clock = small_world.control.clock
    async with small_world.client("member") as client:
        began = clock.monotonic()
        assert (await client.get(f"/v1/operations/{number}", params={"wait": 0.3})).json()["state"] == "queued"
        assert clock.monotonic() - began >= 0.3
        waiting = asyncio.create_task(client.get(f"/v1/operations/{number}", params={"wait": 60}))
        await asyncio.sleep(0.05)
        assert (await client.post(f"/v1/operations/{number}/cancel")).status_code == 200
        async with asyncio.timeout(5):
            assert (await waiting).json()["state"] == "cancelled"
        assert (await client.post(f"/v1/operations/{number}/cancel")).json()["code"] == "operation_ended"
