"""Who may do what: every endpoint, by every kind of caller. An endpoint without a row fails, and so does a row without an endpoint."""

from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from houyi.api.app import ROUTERS
from houyi.api.gate import OPEN
from unit.api.world import CALLERS, PUBLIC_KEY, World


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    """As in the routes; each {noun} is filled with a fresh one of the project `mine`."""
    member: int
    other: int
    """A member of another project: 404 where it must not even know."""
    admin: int
    body: Any = None


def row(method: str, path: str, member: int, other: int, admin: int, body: Any = None) -> Row:
    return Row(method, path, member, other, admin, body)


NAMED = {"name": "fresh-NEW"}
SIZE = {"vcpus": 1, "memory_mib": 128, "disk_gib": 1}

TABLE = (
    row("GET", "/v1", 200, 200, 200),
    row("GET", "/v1/whoami", 200, 200, 200),
    row("GET", "/metrics", 403, 403, 200),
    row("GET", "/v1/vms", 200, 200, 200),
    row("POST", "/v1/vms", 404, 404, 404, {**NAMED, "image": "no-such-image", "type": "t1.nano"}),
    row("GET", "/v1/vms/{vm}", 200, 404, 200),
    row("PATCH", "/v1/vms/{vm}", 200, 404, 200, {"labels": {"a": "b"}}),
    row("DELETE", "/v1/vms/{vm}", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/start", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/stop", 202, 404, 202, {"mode": "force"}),
    row("POST", "/v1/vms/{vm}/pause", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/resume", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/reboot", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/reset", 202, 404, 202),
    row("POST", "/v1/vms/{vm}/migrate", 202, 404, 202),
    row("GET", "/v1/telemetry", 200, 200, 200),
    row("GET", "/v1/vms/{vm}/telemetry", 200, 404, 200),
    row("POST", "/v1/vms/{vm}/exits", 200, 404, 200, {"seconds": 1.0}),
    row("POST", "/v1/vms/{vm}/latency", 200, 404, 200, {"seconds": 1.0}),
    row("GET", "/v1/vms/{vm}/log", 200, 404, 200),
    row("POST", "/v1/vms/{vm}/tickets", 201, 404, 201, {"kind": "vnc"}),
    row("GET", "/v1/vm-types", 200, 200, 200),
    row("POST", "/v1/vm-types", 403, 403, 201, {**NAMED, **SIZE}),
    row("GET", "/v1/vm-types/{vm_type}", 200, 200, 200),
    row("PATCH", "/v1/vm-types/{vm_type}", 403, 403, 200, {"vcpus": 2}),
    row("DELETE", "/v1/vm-types/{vm_type}", 403, 403, 204),
    row("GET", "/v1/knobs", 200, 200, 200),
    row("GET", "/v1/knobs/{knob}", 200, 200, 200),
    row("GET", "/v1/profiles", 200, 200, 200),
    row("GET", "/v1/profiles/{profile}", 200, 200, 200),
    row("GET", "/v1/vms/{vm}/tuning", 200, 404, 200),
    row("GET", "/v1/vms/{vm}/advice", 200, 404, 200),
    row("POST", "/v1/vms/{vm}/advice", 200, 404, 200, {"seconds": 1.0}),
    row("GET", "/v1/images", 200, 200, 200),
    row("POST", "/v1/images", 202, 202, 202, NAMED),
    row("GET", "/v1/images/{image}", 200, 404, 200),
    row("PATCH", "/v1/images/{image}", 200, 404, 200, {"os": "debian"}),
    row("DELETE", "/v1/images/{image}", 202, 404, 202),
    row("GET", "/v1/images/{image}/content", 200, 404, 200),
    row("PUT", "/v1/images/{image}/content", 409, 404, 409),
    row("GET", "/v1/networks", 200, 200, 200),
    row("POST", "/v1/networks", 403, 403, 201, {**NAMED, "kind": "bridge", "bridge": "br1"}),
    row("GET", "/v1/networks/{network}", 200, 404, 200),
    row("DELETE", "/v1/networks/{network}", 204, 404, 204),
    row("GET", "/v1/hosts", 403, 403, 200),
    row("GET", "/v1/hosts/{host}", 403, 403, 200),
    row("GET", "/v1/hosts/{host}/report", 403, 403, 200),
    row("PATCH", "/v1/hosts/{host}", 403, 403, 200, {"cordoned": True}),
    row("DELETE", "/v1/hosts/{host}", 403, 403, 204),
    row("POST", "/v1/hosts/{host}/drain", 403, 403, 202),
    row("GET", "/v1/migrations", 200, 200, 200),
    row("GET", "/v1/migrations/{migration}", 200, 404, 200),
    row("POST", "/v1/migrations/{migration}/cancel", 200, 404, 200),
    row("GET", "/v1/experiments", 200, 200, 200),
    row("GET", "/v1/experiments/{experiment}", 200, 404, 200),
    row("POST", "/v1/experiments/{experiment}/cancel", 200, 404, 200),
    row("POST", "/v1/vms/{vm}/experiments", 202, 404, 202, {"knobs": {"hpet": "on"}, "restart": True}),
    row("GET", "/v1/ssh-keys", 200, 200, 200),
    row("POST", "/v1/ssh-keys", 201, 201, 201, {**NAMED, "public_key": PUBLIC_KEY}),
    row("GET", "/v1/ssh-keys/{ssh_key}", 200, 404, 200),
    row("DELETE", "/v1/ssh-keys/{ssh_key}", 204, 404, 204),
    row("GET", "/v1/vms/{vm}/placement", 200, 404, 200),
    row("GET", "/v1/placement-groups", 200, 200, 200),
    row("POST", "/v1/placement-groups", 201, 201, 201, {**NAMED, "policy": "affinity"}),
    row("GET", "/v1/placement-groups/{placement_group}", 200, 404, 200),
    row("DELETE", "/v1/placement-groups/{placement_group}", 204, 404, 204),
    row("GET", "/v1/pools", 200, 200, 200),
    row("POST", "/v1/pools", 403, 403, 201, NAMED),
    row("GET", "/v1/pools/{pool}", 200, 200, 200),
    row("DELETE", "/v1/pools/{pool}", 403, 403, 204),
    row("GET", "/v1/projects", 200, 200, 200),
    row("POST", "/v1/projects", 403, 403, 201, NAMED),
    row("GET", "/v1/projects/{project}", 404, 404, 200),
    row("DELETE", "/v1/projects/{project}", 403, 403, 204),
    row("GET", "/v1/tokens", 200, 200, 200),
    row("POST", "/v1/tokens", 201, 201, 201, NAMED),
    row("GET", "/v1/tokens/{token}", 200, 404, 200),
    row("DELETE", "/v1/tokens/{token}", 204, 404, 204),
    row("GET", "/v1/join-tokens", 403, 403, 200),
    row("POST", "/v1/join-tokens", 403, 403, 201, {}),
    row("GET", "/v1/join-tokens/{join_token}", 403, 403, 200),
    row("DELETE", "/v1/join-tokens/{join_token}", 403, 403, 204),
    row("GET", "/v1/operations", 200, 200, 200),
    row("GET", "/v1/operations/{operation}", 200, 404, 200),
    row("POST", "/v1/operations/{operation}/cancel", 200, 404, 200),
    row("GET", "/v1/events", 200, 200, 200),
    row("GET", "/v1/events/{event}", 200, 404, 200),
)

SOCKETS = {"/v1/vms/{vm}/console", "/v1/vms/{vm}/vnc"}
"""Authenticated in their routes; tested in test_console.py."""


def test_every_endpoint_has_its_row() -> None:
    routes = [route for router in ROUTERS for route in router.routes]
    sockets = {route.path for route in routes if isinstance(route, WebSocketRoute)}
    assert sockets == SOCKETS
    endpoints = {(method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods}
    assert {path for _, path in endpoints} & OPEN == OPEN - {"/openapi.json"}
    guarded = {(method, path.replace("{name}", "{project}")) for method, path in endpoints if path not in OPEN}
    assert guarded == {(one.method, one.path) for one in TABLE}
    assert len(routes) == len(sockets) + len(endpoints)


async def filled(world: World, path: str) -> str:
    noun = path.partition("{")[2].partition("}")[0]
    if not noun:
        return path
    if path.endswith("/migrate"):
        await world.new("host")  # that it can go to
    if path.endswith("/resume"):
        from houyi.model.vm import Power, VmState

        return path.replace("{vm}", (await world.new_vm(state=VmState.PAUSED, power=Power.PAUSED)).id)
    return path.replace(f"{{{noun}}}", await world.new(noun))


@pytest.mark.parametrize("who", CALLERS)
async def test_who_may_do_what(small_world: World, who: str) -> None:
    small_world.far.says = [b"login:", b""]
    wrong = []
    async with small_world.client(who) as client:
        for number, one in enumerate(TABLE):
            body = (
                {key: value.replace("NEW", f"{who}-{number}") if key == "name" else value for key, value in one.body.items()} if one.body is not None else None
            )
            answer = await client.request(one.method, await filled(small_world, one.path), json=body)
            expected = 401 if who == "nobody" else getattr(one, who)
            if answer.status_code != expected:
                wrong.append(f"{one.method} {one.path}: {answer.status_code}, not {expected}: {answer.text[:200]}")
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
    assert wrong == []


async def test_open_paths_need_no_token(small_world: World) -> None:
    async with small_world.client("nobody") as client:
        assert {path: (await client.get(path)).status_code for path in sorted(OPEN)} == dict.fromkeys(sorted(OPEN), 200)
        assert (await client.get("/v1/nothing-here")).status_code == 401


async def test_lists_show_what_one_may_see(world: World) -> None:
    for noun in ("vm", "image", "network", "ssh_key", "placement_group", "token", "operation", "event"):
        number = await world.new(noun)
        path = f"/v1/{noun.replace('_', '-')}s"
        seen = {}
        for who in ("member", "other", "admin"):
            async with world.client(who) as client:
                items: list[str] = []
                token = ""
                while token is not None:
                    page = (await client.get(path, params={"page_token": token})).json()
                    items += [item["id"] for item in page["items"]]
                    token = page["next"]
                seen[who] = number in items
        assert seen == {"member": True, "other": False, "admin": True}, noun


async def test_an_administrators_name_means_one_project(world: World) -> None:
    """Two projects have a VM of the same name: an administrator must never hit the other by accident."""
    here, there = await world.new_vm("web"), await world.new_vm("web", project=world.theirs.id)
    async with world.client("admin") as client:
        assert (await client.get("/v1/vms/web")).status_code == 404, "none in the administrator's own project"
        assert (await client.get("/v1/vms/web", params={"project": "mine"})).json()["id"] == here.id
        assert (await client.get("/v1/vms/web", params={"project": world.theirs.id})).json()["id"] == there.id
        assert (await client.get(f"/v1/vms/{there.id}", params={"project": "mine"})).status_code == 404
        listed = (await client.get("/v1/vms", params={"project": "theirs"})).json()["items"]
        assert [vm["id"] for vm in listed] == [there.id]
        deleted = await client.delete("/v1/vms/web", params={"project": "theirs"})
        assert deleted.json()["target_id"] == there.id
    async with world.client("member") as client:
        assert (await client.get("/v1/vms", params={"project": "theirs"})).status_code == 404
        assert (await client.get("/v1/vms", params={"project": "mine"})).status_code == 200


async def test_a_public_image_is_seen_but_not_touched(world: World) -> None:
    image = await world.new_image("shared", public=True)
    async with world.client("other") as client:
        shown = (await client.get("/v1/images/shared")).json()
        assert (shown["id"], shown["project_name"]) == (image.id, "mine")
        assert (await client.patch("/v1/images/shared", json={"os": "x"})).status_code == 403
        assert (await client.delete(f"/v1/images/{image.id}")).status_code == 403
        assert (await client.put(f"/v1/images/{image.id}/content", content=b"x")).status_code == 404
