"""Idempotency-Key: whatever is sent twice happens once and is answered alike."""

import asyncio
import json
from typing import Any

import pytest

from houyi.api.app import bare_app
from unit.api.world import PUBLIC_KEY, World

POSTS: dict[str, Any] = {
    "/v1/vms": None,
    "/v1/vms/{vm}/start": {},
    "/v1/vms/{vm}/stop": {"mode": "force"},
    "/v1/vms/{vm}/pause": None,
    "/v1/vms/{vm}/resume": None,
    "/v1/vms/{vm}/reboot": None,
    "/v1/vms/{vm}/reset": None,
    "/v1/vms/{vm}/migrate": None,
    "/v1/vms/{vm}/experiments": {"knobs": {"hpet": "on"}, "restart": True},
    "/v1/vms/{vm}/exits": {"seconds": 1.0},
    "/v1/vms/{vm}/latency": {"seconds": 1.0},
    "/v1/vms/{vm}/advice": {"seconds": 1.0},
    "/v1/vms/{vm}/tickets": {"kind": "console"},
    "/v1/pools": {"name": "once"},
    "/v1/vm-types": {"name": "once", "vcpus": 1, "memory_mib": 128, "disk_gib": 1},
    "/v1/images": {"name": "once"},
    "/v1/networks": {"name": "once", "kind": "bridge", "bridge": "br0"},
    "/v1/ssh-keys": {"name": "once", "public_key": PUBLIC_KEY},
    "/v1/placement-groups": {"name": "once", "policy": "anti-affinity"},
    "/v1/projects": {"name": "once"},
    "/v1/tokens": {"name": "once"},
    "/v1/join-tokens": {"lifetime_seconds": 60},
    "/v1/operations/{operation}/cancel": None,
    "/v1/migrations/{migration}/cancel": None,
    "/v1/experiments/{experiment}/cancel": None,
    "/v1/hosts/{host}/drain": None,
}


def test_every_post_is_here() -> None:
    assert set(POSTS) == {path for path, item in bare_app().openapi()["paths"].items() if "post" in item}


async def _ready(world: World, path: str) -> tuple[str, Any]:
    if path == "/v1/vms":
        return path, {"name": "once", "image": (await world.new_image(project=(await _default(world)))).id, "vcpus": 1, "memory_mib": 64}
    if path.endswith("/migrate"):
        await world.new("host")  # that it can go to
    noun = path.partition("{")[2].partition("}")[0]
    return path.replace(f"{{{noun}}}", await world.new(noun)) if noun else path, POSTS[path]


async def _default(world: World) -> Any:
    async with world.client("admin") as client:
        return (await client.get("/v1/whoami")).json()["project_id"]


async def test_twice_is_once(world: World) -> None:
    async with world.client("admin") as client:
        for path in POSTS:
            if path.endswith("/resume"):
                continue  # below: it needs a paused VM
            where, body = await _ready(world, path)
            first = await client.post(where, json=body, headers={"Idempotency-Key": f"key:{path}"})
            assert first.status_code < 300, (path, first.text)
            revision = world.store.revision
            again = await client.post(where, json=body, headers={"Idempotency-Key": f"key:{path}"})
            assert again.status_code == first.status_code, (path, again.text)
            assert world.store.revision == revision, f"{path}: nothing happened the second time"
            expected = first.json()
            if path in ("/v1/tokens", "/v1/join-tokens"):
                assert expected["token"]
                expected["token"] = ""
            assert again.json() == expected, path
            if path != "/v1/vms/{vm}/tickets":
                assert again.headers["idempotency-replayed"] == "true"
            if path not in ("/v1/vms/{vm}/tickets", "/v1/vms/{vm}/exits", "/v1/vms/{vm}/latency", "/v1/vms/{vm}/advice"):
                assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], first.headers["etag"])
            other = await client.post(where, json=body, params={"project": "mine"}, headers={"Idempotency-Key": f"key:{path}"})
            assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch"), path


async def test_resume_twice(small_world: World) -> None:
    from houyi.model.vm import Power, VmState

    vm = await small_world.new_vm(state=VmState.PAUSED, power=Power.PAUSED)
    async with small_world.client("member") as client:
        answers = [await client.post(f"/v1/vms/{vm.id}/resume", headers={"Idempotency-Key": "r"}) for _ in range(2)]
    assert answers[0].status_code == 202
    assert answers[0].json() == answers[1].json()


async def test_all_at_once_is_once(world: World) -> None:
    """Ten requests in flight at the same time make one project, and all get its answer."""
    async with world.client("admin") as client:
        answers = await asyncio.gather(*(client.post("/v1/projects", json={"name": "rush"}, headers={"Idempotency-Key": "rush"}) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.text for answer in answers}) == 1
        assert [one["name"] for one in (await client.get("/v1/projects")).json()["items"]].count("rush") == 1


async def test_what_was_refused_may_be_tried_again(small_world: World) -> None:
    async with small_world.client("member") as client:
        body = {"name": "later", "image": "comes-later", "vcpus": 1, "memory_mib": 64}
        first = await client.post("/v1/vms", json=body, headers={"Idempotency-Key": "later"})
        assert first.status_code == 404
        await small_world.new_image("comes-later")
        assert (await client.post("/v1/vms", json=body, headers={"Idempotency-Key": "later"})).status_code == 202


async def test_keys_of_others_are_others(small_world: World) -> None:
    seen = set()
    for who in ("member", "other"):
        async with small_world.client(who) as client:
            answer = await client.post("/v1/images", json={"name": "same-key"}, headers={"Idempotency-Key": "same"})
            assert answer.status_code == 202
            seen.add(answer.json()["id"])
    assert len(seen) == 2


async def test_the_answer_is_true(world: World) -> None:
    """The revision that is answered, with a key and without, is the one that the record then has."""
    async with world.client("admin") as client:
        for number, with_key in enumerate((False, True)):
            body = {"name": f"t{number}", "vcpus": 1, "memory_mib": 128, "disk_gib": 1}
            made = await client.post("/v1/vm-types", json=body, headers={"Idempotency-Key": "k1"} if with_key else {})
            assert made.json() == (await client.get(made.headers["location"])).json()
            asked = await client.post("/v1/images", json={"name": f"i{number}"}, headers={"Idempotency-Key": "k2"} if with_key else {})
            assert asked.json() == (await client.get(asked.headers["location"])).json()


@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
async def test_keys_have_a_form(small_world: World, key: str) -> None:
    async with small_world.client("admin") as client:
        answer = await client.post("/v1/projects", json={"name": "never"}, headers={"Idempotency-Key": key.encode()})
    assert json.loads(answer.text)["code"] == "invalid_request"
