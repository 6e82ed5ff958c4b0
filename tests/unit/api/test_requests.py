"""What every request meets: the gate, problems, request ids, ETags, pages, figures."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from houyi.api.desk import desk_of
from houyi.api.lists import FILTERED_BATCH, _paging, listed, plainly
from houyi.api.problems import STATUS, status_of
from houyi.control.commands.token import create_token, revoke_token
from houyi.model import errors
from houyi.model.token import Role
from houyi.model.vm import VmState
from houyi.store.claims import claim_host
from houyi.store.rows.vm import insert_vm
from houyi.store.views.event import list_events
from houyi.store.views.page import Ask
from houyi.wire.v1.event import show_event
from made import a_vm
from unit.api.world import World

KINDS = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HouyiError) and kind is not errors.HouyiError}


def test_every_class_has_its_status() -> None:
    assert set(STATUS) == KINDS
    assert len(set(STATUS.values())) == len(STATUS), "a client finds the class by the status"


def test_a_code_may_have_its_own_status() -> None:
    assert (status_of(errors.Stale("revision_mismatch", "")), status_of(errors.Stale("watch_too_old", ""))) == (412, 410)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"method": "POST", "url": "/v1/vms", "json": {"name": "a", "image": "b", "colour": "red"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "json": {"name": "a", "image": "b", "vcpus": "2"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "json": {"name": "a", "image": "b", "vcpus": True}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "json": {"name": "a\0", "image": "b"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "json": [1]}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "content": b"[" * 90_000, "headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "content": b"name=a", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415, "not_json"),
        ({"method": "POST", "url": "/v1/vms", "content": b"{}"}, 415, "not_json"),
        ({"method": "POST", "url": "/v1/vms/x/start", "json": {"force": True}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/vms", "json": {"name": "a" * 100_001, "image": "b"}}, 413, "body_too_large"),
        ({"method": "GET", "url": "/v1/vms", "params": {"limit": 0}}, 400, "invalid_request"),
        ({"method": "GET", "url": "/v1/vms", "params": {"limit": "many"}}, 400, "invalid_request"),
        ({"method": "GET", "url": "/v1/vms", "params": {"page_token": "nonsense"}}, 400, "page_token_invalid"),
        ({"method": "GET", "url": "/v1/vms", "params": {"page_token": "\N{SNOWMAN}"}}, 400, "page_token_invalid"),
        ({"method": "GET", "url": "/v1/vms", "params": {"lable": "a"}}, 400, "query_unknown"),
        ({"method": "GET", "url": "/v1/vms", "params": {"state": "flying"}}, 400, "invalid_request"),
        ({"method": "GET", "url": "/v1/vms/a%00b"}, 400, "invalid_request"),
        ({"method": "GET", "url": "/v1/operations/x", "params": {"wait": "nan"}}, 400, "invalid_request"),
        ({"method": "GET", "url": "/v1/nouns"}, 404, "path_not_found"),
        ({"method": "PUT", "url": "/v1/vms"}, 405, "method_not_allowed"),
        ({"method": "GET", "url": "/v1/vms", "params": {"project": "nowhere"}}, 404, "project_not_found"),
        ({"method": "PATCH", "url": "/v1/vms/x", "json": {}, "headers": {"If-Match": "5"}}, 404, "vm_not_found"),
        ({"method": "POST", "url": "/v1/projects", "json": {"name": "x"}, "headers": {"Idempotency-Key": "a b"}}, 400, "invalid_request"),
        ({"method": "POST", "url": "/v1/projects", "json": {"name": "Not_A_Label"}}, 400, "name_invalid"),
    ],
)
async def test_what_is_wrong_is_said(small_world: World, request_: dict[str, Any], status: int, code: str) -> None:
    async with small_world.client("admin") as client:
        answer = await client.request(**request_)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:houyi:problem:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert len(problem["detail"]) > 10
    if code == "invalid_request" and "json" in request_ and "headers" not in request_:
        assert all(field["field"].startswith("body") for field in problem["fields"])


async def test_the_method_that_is_allowed_is_named(small_world: World) -> None:
    async with small_world.client("admin") as client:
        assert "PATCH" in (await client.put("/v1/hosts/x", json={})).headers["allow"]


async def test_a_body_without_a_length_is_limited_too(small_world: World) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b" " * 1000

    async with small_world.client("admin") as client:
        answer = await client.post("/v1/vms", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "no_token"),
        ("Bearer", "no_token"),
        ("Basic YTpi", "no_token"),
        ("Bearer hy_x", "token_invalid"),
        ("Bearer hy_11111111-1111-4111-8111-111111111111_" + "a" * 43, "token_invalid"),
    ],
)
async def test_without_a_good_token_nothing_is_read(small_world: World, authorization: str, code: str) -> None:
    async with small_world.client("nobody") as client:
        for content in (b"{}", b"{"):
            answer = await client.post("/v1/vms", content=content, headers={"Authorization": authorization, "Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_wrong_secret_for_a_known_token(small_world: World) -> None:
    async with small_world.client("admin") as client:
        good = small_world.tokens["member"]
        for wrong in (good[:-1] + ("A" if good[-1] != "A" else "B"), good + "A", good.replace("hy_", "hyj_")):
            assert (await client.get("/v1", headers={"Authorization": f"Bearer {wrong}"})).status_code == 401
        assert (await client.get("/v1", headers={"Authorization": f"bearer {good}"})).status_code == 200


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    async with world.client("member") as member, world.client("admin") as admin:
        mine = (await member.get("/v1/whoami")).json()
        assert (mine["role"], mine["project_name"]) == ("member", "mine")
        assert (await admin.delete(f"/v1/tokens/{mine['token_id']}")).status_code == 204
        refused = await member.get("/v1/whoami")
        assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")


async def test_an_expired_token_is_refused(small_world: World) -> None:
    _token, text = await create_token(small_world.control, small_world.context(), "short", Role.MEMBER, lifetime_seconds=0.3)
    async with small_world.client("nobody") as client:
        headers = {"Authorization": f"Bearer {text}"}
        assert (await client.get("/v1/whoami", headers=headers)).status_code == 200
        await small_world.control.clock.sleep(0.35)
        assert (await client.get("/v1/whoami", headers=headers)).json()["code"] == "token_expired"


async def test_another_servers_revocation_is_seen_soon(small_world: World) -> None:
    """Written by somebody else, as another server would: seen when the memory of it is over."""
    token, text = await create_token(small_world.control, small_world.context(), "t", Role.MEMBER)
    async with small_world.client("nobody") as client:
        headers = {"Authorization": f"Bearer {text}"}
        assert (await client.get("/v1/whoami", headers=headers)).status_code == 200
        await revoke_token(small_world.control, small_world.context(), token.id)
        await small_world.control.clock.sleep(2.1)
        assert (await client.get("/v1/whoami", headers=headers)).status_code == 401


async def test_a_crash_tells_nothing_of_the_inside(small_world: World) -> None:
    small_world.far.refuses = RuntimeError("the password is swordfish")
    vm = await small_world.new("vm")
    with capture_logs() as logged:
        async with small_world.client("admin") as client:
            answer = await client.get(f"/v1/vms/{vm}/log", headers={"X-Request-Id": "abc-123"})
    assert [line["event"] for line in logged] == ["request_crashed", "request"]
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (500, "internal_error", "abc-123")
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text


async def test_request_ids(small_world: World) -> None:
    async with small_world.client("admin") as client:
        assert (await client.get("/v1", headers={"X-Request-Id": "mine-1"})).headers["x-request-id"] == "mine-1"
        for hostile in ("a b", "x" * 65, 'a"b', ""):
            answer = await client.get("/v1", headers={"X-Request-Id": hostile})
            assert answer.headers["x-request-id"] != hostile
            assert len(answer.headers["x-request-id"]) == 36
        made = await client.post("/v1/projects", json={"name": "traced"}, headers={"X-Request-Id": "traced-1"})
        assert made.status_code == 201
        events = (await client.get("/v1/events", params={"kind": "project.create", "limit": 1000})).json()["items"]
        assert [event["request_id"] for event in events if event["target_name"] == "traced"] == ["traced-1"]


async def test_secrets_are_not_logged(small_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    async with small_world.client("admin") as client:
        made = (await client.post("/v1/tokens", json={"name": "quiet"})).json()["token"]
        vm = await small_world.new("vm")
        ticket = (await client.post(f"/v1/vms/{vm}/tickets", json={})).json()["ticket"]
        await client.get("/v1/vms", params={"name": "shibboleth"})
    printed = "".join(capsys.readouterr())
    assert "/v1/tokens" in printed
    for secret in (made, ticket, small_world.tokens["admin"], "shibboleth"):
        assert secret not in printed


@pytest.mark.parametrize("noun", ["vm", "vm_type", "image", "network", "host", "ssh_key", "placement_group", "pool", "project", "token", "join_token"])
async def test_if_match(small_world: World, noun: str) -> None:
    """An ETag that is old is refused, on every noun that can be changed or deleted; the present one is accepted."""
    bodies: dict[str, Any] = {"vm": {"protected": False, "labels": {"a": "b"}}, "vm_type": {"vcpus": 3}, "image": {"os": "x"}, "host": {"labels": {"a": "b"}}}
    number = await small_world.new(noun)
    path = f"/v1/{noun.replace('_', '-')}s/{number}"
    async with small_world.client("admin") as client:
        shown = await client.get(path)
        etag = shown.headers["etag"]
        assert etag == f'"{shown.json()["revision"]}"'
        if noun in bodies:
            assert (await client.patch(path, json=bodies[noun], headers={"If-Match": '"1"'})).json()["code"] == "revision_mismatch"
            changed = await client.patch(path, json=bodies[noun], headers={"If-Match": etag})
            assert changed.status_code == 200
            assert changed.headers["etag"] != etag
            assert (await client.patch(path, json=bodies[noun], headers={"If-Match": etag})).status_code == 412
            assert (await client.delete(path, headers={"If-Match": etag})).status_code == 412
            etag = changed.headers["etag"]
        for wrong, status in (('"1"', 412), ("nonsense", 400)):
            assert (await client.delete(path, headers={"If-Match": wrong})).status_code == status
        assert (await client.get(path)).status_code == 200, "nothing was deleted"
        assert (await client.delete(path, headers={"If-Match": f"W/{etag}"})).status_code in (202, 204)


async def test_pages_are_stable_while_things_are_made(world: World) -> None:
    made = [await world.new("vm") for _ in range(7)]
    async with world.client("member") as client:
        seen: list[str] = []
        token = ""
        while token is not None:
            page = (await client.get("/v1/vms", params={"limit": 2, "page_token": token})).json()
            assert len(page["items"]) <= 2
            seen += [item["id"] for item in page["items"]]
            token = page["next"]
            if len(seen) == 2:
                late = await world.new("vm")
    assert seen == [*made, late]


async def test_filters_look_beyond_a_page(world: World) -> None:
    for number in range(9):
        await world.new_vm(f"v{number}", spec={"labels": {"odd": str(number % 2), f"n{number}": ""}}, state=None if number == 8 else VmState.RUNNING)

    async with world.client("member") as client:

        async def names(**query: Any) -> list[str]:
            return [vm["name"] for vm in (await client.get("/v1/vms", params=query)).json()["items"]]

        assert await names(label="odd=1", limit=3) == ["v1", "v3", "v5"]
        assert await names(label="n7", limit=1) == ["v7"]
        assert await names(label=["odd=0", "n4"]) == ["v4"]
        assert await names(state="pending") == ["v8"]
        assert await names(name="v2") == ["v2"]
        assert await names(host="h1", label="odd=0") == ["v0", "v2", "v4", "v6"]
        assert await names(state="crashed") == []


async def test_filtered_pages_are_full(world: World) -> None:
    """Also where one in many fits: as many as asked for, each once, over several reads and pages; the last one has no `next`."""
    image = await world.new_image()
    vms = [a_vm(image, f"v{number:04}", project_id=world.mine.id) for number in range(FILTERED_BATCH * 2 + 10)]
    await world.store.apply([insert_vm(vm, False, float(number // 7)) for number, vm in enumerate(vms)])
    fitting = vms[3::97]
    amounts = {"vcpu": 1}
    await world.store.apply([claim_host(vm, world.host_id, amounts, {"vcpu": 10_000}, 1.0) for vm in fitting])
    async with world.client("member") as client:
        for limit in (1, 4, 1000):
            pages, query = [], {"state": "creating", "limit": limit}
            while True:
                page = (await client.get("/v1/vms", params=query)).json()
                pages.append([vm["name"] for vm in page["items"]])
                if page["next"] is None:
                    break
                query["page_token"] = page["next"]
            assert sorted(name for names in pages for name in names) == [vm.name for vm in fitting]
            assert all(len(names) == limit for names in pages[:-1])


async def test_a_filter_that_fits_hardly_anything_does_not_hold_up_everybody(world: World) -> None:
    """After so many rows the page is answered as it is, and the next one goes on there."""
    last = sorted(await asyncio.gather(*(world.new_event() for _ in range(FILTERED_BATCH + 2))))[-1]  # all of one moment: by their ids

    async def page(ask: Ask) -> Any:
        shown = await listed(
            desk_of(Request({"type": "http", "app": world.app})),
            ask,
            plainly(lambda c, page: list_events(c, None, page)),
            lambda event, _names: show_event(event),
            lambda event: event.id == last,
            most=FILTERED_BATCH,
        )
        return json.loads(bytes(shown.body))

    first = await page(Ask(2))
    assert (first["items"], first["next"] is None) == ([], False)
    second = await page(_paging(2, first["next"]))
    assert ([event["id"] for event in second["items"]], second["next"]) == ([last], None)


async def test_metrics(world: World) -> None:
    await world.new("vm")
    await world.new_vm(state=None)
    async with world.client("admin") as client:
        await client.get("/v1/vms/nothing")
        text = (await client.get("/metrics")).text
    assert 'houyi_vms{state="running"} 1.0' in text
    assert 'houyi_vms{state="pending"} 1.0' in text
    assert 'houyi_hosts{state="ready"} 1.0' in text
    assert f"houyi_store_revision {float(world.store.revision)}" in text
    assert 'houyi_api_requests_total{method="GET",route="/v1/vms/{vm}",status="404"} 1.0' in text
    assert "nothing" not in text, "no path, only its template"


async def test_the_documents_page_fetches_nothing_from_elsewhere(small_world: World) -> None:
    async with small_world.client("nobody") as client:
        for path in ("/docs", "/docs/page.js", "/docs/page.css"):
            answer = await client.get(path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "http:" not in answer.text.replace("http://www.w3.org", "")
            assert "https:" not in answer.text
        assert json.loads((await client.get("/openapi.json")).text)["openapi"].startswith("3.1")


async def test_health_says_when_the_store_is_gone(small_world: World) -> None:
    async with small_world.client("nobody") as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
