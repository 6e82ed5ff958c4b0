"""History from a Prometheus: what is asked of it, and what is made of its answers. The Prometheus is a small server of our own; the real one answers so."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from desk import Desk
from houyi.control.control import Control
from houyi.control.prometheus import RAW_SECONDS, history_of
from houyi.model.errors import Unavailable
from houyi.model.ids import VmId

VM = VmId("11111111-0000-4000-8000-000000000000")
HOST = "22222222-0000-4000-8000-000000000000"


@asynccontextmanager
async def answering(body: Any, status: str = "200 OK") -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split()[1].decode())
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def with_url(desk: Desk, url: str) -> Control:
    server = desk.control.settings.server.model_copy(update={"prometheus_url": url})
    return Control(desk.store, desk.clock, desk.control.ids, desk.control.settings.model_copy(update={"server": server}))


def a_series(metric: str, *points: tuple[float, str], **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": metric, "vm": VM, "host": HOST, "instance": "x:1", "job": "j", **labels}, "values": [list(point) for point in points]}


async def test_readings_that_were_scraped_make_periods(desk: Desk) -> None:
    result = [
        a_series("houyi_vm_info", (900, "1"), (910, "1"), (930, "1"), accelerator="kvm", name="hello"),
        a_series("houyi_vm_cpu_seconds_total", (900, "10"), (910, "15"), (930, "1")),
        a_series("houyi_vm_vcpu_exits_total", (900, "100"), (910, "600"), (930, "3"), vcpu="0", reason="halt"),
    ]
    async with answering({"status": "success", "data": {"resultType": "matrix", "result": result}}) as (url, asked):
        ((host, found),) = await history_of(with_url(desk, url), VM, since=400.0)
    assert (host, found.began_at, found.ended_at, found.kvm, found.cpu) == (HOST, 900.0, 910.0, True, 0.5)
    assert found.exits == {"exits": 50.0, "halt_exits": 50.0}, "the last reading is of another run: it tells nothing yet"
    query = parse_qs(urlsplit(asked[0]).query)
    assert query == {"query": [f'{{__name__=~"houyi_vm_.+",vm="{VM}"}}[600s]'], "time": ["1000.000"]}


async def test_long_histories_are_taken_at_steps(desk: Desk) -> None:
    desk.clock.at = 10 * RAW_SECONDS
    async with answering({"status": "success", "data": {"resultType": "matrix", "result": []}}) as (url, asked):
        assert await history_of(with_url(desk, f"{url}/"), VM, since=0.0) == []
    parts = urlsplit(asked[0])
    assert parts.path == "/api/v1/query_range"
    assert parse_qs(parts.query)["step"] == ["100"]


@pytest.mark.parametrize(("body", "status"), [(b"<html>", "200 OK"), ({"status": "error"}, "200 OK"), ({}, "503 Service Unavailable")])
async def test_what_is_no_answer_is_said(desk: Desk, body: Any, status: str) -> None:
    async with answering(body, status) as (url, _):
        with pytest.raises(Unavailable) as refused:
            await history_of(with_url(desk, url), VM, since=0.0)
    assert refused.value.code == "prometheus_unreachable"
    with pytest.raises(Unavailable):
        await history_of(with_url(desk, "http://127.0.0.1:9"), VM, since=0.0)
