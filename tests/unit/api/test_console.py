"""Consoles over websockets: who may open them, what is carried, and how they end."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from houyi.api.app import create_app
from houyi.api.v1.console import STILL_SECONDS
from houyi.model.errors import Conflict
from houyi.model.vm import VmState
from unit.api.world import UNREACHABLE, World, serving


def socket(url: str, path: str, headers: dict[str, str], **more: Any) -> connect:
    return connect(url.replace("http", "ws", 1) + path, additional_headers=headers, proxy=None, **more)


async def refusal(url: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with socket(url, path, headers):
            pass
    response = caught.value.response
    assert response.headers["content-type"] == "application/problem+json"
    import json

    return response.status_code, json.loads(response.body)["code"]


@pytest.mark.parametrize(("kind", "far_end"), [("console", "serial"), ("vnc", "vnc")])
async def test_bytes_go_both_ways(small_world: World, url: str, kind: str, far_end: str) -> None:
    vm = await small_world.new_vm()
    small_world.far.says = [b"\x00login: \xff"]
    async with socket(url, f"/v1/vms/{vm.id}/{kind}", small_world.headers("member"), subprotocols=["binary"]) as opened:
        assert opened.subprotocol == "binary"
        assert await opened.recv() == b"\x00login: \xff"
        await opened.send(b"root\r")
        assert await opened.recv() == b"ROOT\r"
        await opened.send("text too")
        assert await opened.recv() == b"TEXT TOO"
        await opened.send(b"bye")
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    assert small_world.far.opened == [(small_world.host_id, vm.id, far_end)]


async def test_the_far_end_is_closed_when_the_viewer_goes(small_world: World, url: str) -> None:
    vm = await small_world.new_vm()
    async with socket(url, f"/v1/vms/{vm.id}/console", small_world.headers("member")) as opened:
        await opened.send(b"x")
        await opened.recv()
    async with asyncio.timeout(5):
        await small_world.far.consoles[0].closed.wait()


async def test_the_reason_of_an_end_is_said(small_world: World, url: str) -> None:
    vm = await small_world.new_vm()
    small_world.far.ends_with = Conflict("vm_not_running", "the VM is not running: start it first " + "é" * 100)
    async with socket(url, f"/v1/vms/{vm.id}/console", small_world.headers("member")) as opened:
        await opened.send(b"bye")
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4000
    assert closed.value.rcvd.reason.startswith("vm_not_running: the VM is not running")


async def test_who_may_not(small_world: World, url: str) -> None:
    vm = await small_world.new_vm("guarded")
    path = f"/v1/vms/{vm.id}/console"
    assert await refusal(url, path, {}) == (401, "no_token")
    assert await refusal(url, path, {"Authorization": "Bearer hy_x"}) == (401, "token_invalid")
    assert await refusal(url, path, small_world.headers("other")) == (404, "vm_not_found")
    assert await refusal(url, "/v1/vms/guarded/console", small_world.headers("admin")) == (404, "vm_not_found")
    async with socket(url, "/v1/vms/guarded/console?project=mine", small_world.headers("admin")):
        pass
    assert len(small_world.far.opened) == 1


async def test_what_cannot_be_opened(small_world: World, url: str) -> None:
    member = small_world.headers("member")
    waiting, blind = await small_world.new_vm(state=None), await small_world.new_vm(spec={"video": False})
    assert await refusal(url, f"/v1/vms/{waiting.id}/console", member) == (409, "vm_has_no_host")
    assert await refusal(url, f"/v1/vms/{blind.id}/vnc", member) == (409, "vm_has_no_display")
    small_world.far.refuses = UNREACHABLE
    assert await refusal(url, f"/v1/vms/{blind.id}/console", member) == (503, "host_unreachable")


async def test_a_ticket_opens_one_socket_once(small_world: World, url: str) -> None:
    vm, another = await small_world.new_vm("ticketed"), await small_world.new_vm("another")
    async with small_world.client("member") as client:

        async def ticket(kind: str = "console") -> str:
            given = await client.post("/v1/vms/ticketed/tickets", json={"kind": kind})
            assert given.status_code == 201
            return str(given.json()["ticket"])

        once = await ticket()
        async with socket(url, f"/v1/vms/ticketed/console?ticket={once}", {}) as opened:
            await opened.send(b"a")
            assert await opened.recv() == b"A"
        assert await refusal(url, f"/v1/vms/{vm.id}/console?ticket={once}", {}) == (401, "ticket_invalid")
        assert await refusal(url, f"/v1/vms/{another.id}/console?ticket={await ticket()}", {}) == (401, "ticket_invalid")
        assert await refusal(url, f"/v1/vms/{vm.id}/console?ticket={await ticket('vnc')}", {}) == (401, "ticket_invalid")
        assert await refusal(url, f"/v1/vms/{vm.id}/console?ticket=guess", small_world.headers("member")) == (401, "ticket_invalid")


async def test_a_console_ends_with_the_token_that_opened_it(small_world: World, url: str) -> None:
    vm = await small_world.new_vm()
    console = f"/v1/vms/{vm.id}/console"
    async with small_world.client("admin", url) as admin:
        made = (await admin.post("/v1/tokens", json={"name": "leaver", "role": "member"}, params={"project": "mine"})).json()
        mine = {"Authorization": f"Bearer {made['token']}"}
        used, unused = [(await admin.post(f"/v1/vms/{vm.id}/tickets", json={}, headers=mine)).json()["ticket"] for _ in range(2)]
        async with socket(url, console, mine) as by_token, socket(url, f"{console}?ticket={used}", {}) as by_ticket:
            for opened in (by_token, by_ticket):
                await opened.send(b"a")
                assert await opened.recv() == b"A"
            assert (await admin.delete(f"/v1/tokens/{made['id']}")).status_code == 204
            for opened in (by_token, by_ticket):
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(2 * STILL_SECONDS):
                        await opened.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.reason.startswith("token_invalid")
        assert await refusal(url, f"{console}?ticket={unused}", {}) == (401, "token_invalid")
    assert all(console.closed.is_set() for console in small_world.far.consoles)


async def test_any_server_takes_a_ticket_once(world: World) -> None:
    """Two servers over one store: what one gave, the other takes; what one has taken, neither takes again."""
    vm = await world.new_vm("ticketed")
    second = replace(world, app=create_app(world.control, world.far, "ab" * 16))
    async with serving(world) as first_url, serving(second) as second_url, world.client("member", first_url) as client:
        text = (await client.post("/v1/vms/ticketed/tickets", json={})).json()["ticket"]
        async with socket(second_url, f"/v1/vms/{vm.id}/console?ticket={text}", {}) as opened:
            await opened.send(b"a")
            assert await opened.recv() == b"A"
        for url in (first_url, second_url):
            assert await refusal(url, f"/v1/vms/{vm.id}/console?ticket={text}", {}) == (401, "ticket_invalid")


async def test_the_log(small_world: World) -> None:
    vm = await small_world.new_vm(state=VmState.STOPPED)
    small_world.far.says = [b"[    0.0] Linux\r\n", b"login: \xff", b""]
    async with small_world.client("member") as client:
        answer = await client.get(f"/v1/vms/{vm.id}/log")
    assert (answer.status_code, answer.content) == (200, b"[    0.0] Linux\r\nlogin: \xff")
    assert answer.headers["content-type"].startswith("text/plain")
    assert small_world.far.opened == [(small_world.host_id, vm.id, "log")]
    assert small_world.far.consoles[0].closed.is_set()


async def test_a_log_that_cannot_be_read(small_world: World) -> None:
    vm = await small_world.new_vm()
    small_world.far.says, small_world.far.ends_with = [b""], UNREACHABLE
    async with small_world.client("member") as client:
        answer = await client.get(f"/v1/vms/{vm.id}/log")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "host_unreachable", "1")
