"""The core under both clients: what is sent, what is tried again, what becomes which error. The outside is httpx2's own mock transport."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.api.problems import STATUS
from houyi.api.problems import problem as refusal
from houyi.model import errors
from houyi.sdk.async_transport import AsyncTransport
from houyi.sdk.core import PAUSES, Server, parse_line, pause_after, request, texts
from houyi.sdk.paths import path
from houyi.sdk.problems import problem_error
from houyi.sdk.transport import Transport


def answering(answers: list[Any], seen: list[httpx2.Request]) -> httpx2.MockTransport:
    """The answers in turn, the last one for ever; exceptions are raised."""

    def answer(asked: httpx2.Request) -> httpx2.Response:
        seen.append(asked)
        one = answers[min(len(seen), len(answers)) - 1]
        if isinstance(one, Exception):
            raise one
        status, content = one
        return httpx2.Response(status, json=content) if content is not None else httpx2.Response(status)

    return httpx2.MockTransport(answer)


class Both:
    """Asks the same of the sync and the async transport, which have to agree on everything."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[httpx2.Request] = []
        self.slept: list[float] = []

    async def request(self, method: str, where: str, **more: Any) -> Any:
        with Transport("http://api", "t", transport=answering(self.answers, self.seen), sleep=self.slept.append) as client:
            first = _outcome(lambda: client.request(method, where, **more))
        seen: list[httpx2.Request] = []
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        async with AsyncTransport("http://api", "t", transport=answering(self.answers, seen), sleep=sleep) as other:
            try:
                second = await other.request(method, where, **more)
            except errors.HouyiError as error:
                second = (type(error), error.code)
        assert first == second
        assert self.slept == slept
        assert [(one.method, one.url, one.content) for one in self.seen] == [(one.method, one.url, one.content) for one in seen]
        return first


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except errors.HouyiError as error:
        return type(error), error.code


def problem(status: int, code: str) -> tuple[int, Any]:
    return status, {"code": code, "detail": "d", "status": status}


async def test_what_is_sent() -> None:
    both = Both((200, {"a": 1}))
    assert await both.request("POST", "/v1/vms", body={"name": "x"}, params={"dry_run": True, "label": ["a", "b"], "none": None, "n": 3}) == {"a": 1}
    (asked,) = both.seen
    assert asked.headers["authorization"] == "Bearer t"
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.content) == {"name": "x"}
    assert str(asked.url) == "http://api/v1/vms?dry_run=true&label=a&label=b&n=3"
    assert len(asked.headers["idempotency-key"]) == 36


async def test_a_repeated_post_is_the_same_post() -> None:
    both = Both(httpx2.ReadError("cut"), problem(503, "x"), (201, {"id": 1}))
    assert await both.request("POST", "/v1/vms", body={}) == {"id": 1}
    assert len(both.seen) == 3
    assert len({asked.headers["idempotency-key"] for asked in both.seen}) == 1
    assert both.slept == list(PAUSES[:2])


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
async def test_what_may_have_been_done_is_not_done_again(method: str) -> None:
    cut = Both(httpx2.ReadError("cut"), (204, None))
    assert await cut.request(method, "/v1/vms/x") == (errors.Unavailable, "server_unreachable")
    assert len(cut.seen) == 1
    refused = Both(httpx2.ConnectError("refused"), (204, None))
    assert await refused.request(method, "/v1/vms/x") is None
    assert len(refused.seen) == 2


async def test_it_gives_up() -> None:
    away = Both(httpx2.ConnectError("refused"))
    assert await away.request("GET", "/v1/vms") == (errors.Unavailable, "server_unreachable")
    assert away.slept == list(PAUSES)
    busy = Both(problem(503, "store_unreachable"))
    assert await busy.request("GET", "/v1/vms") == (errors.Unavailable, "store_unreachable")
    assert len(busy.seen) == 1 + len(PAUSES)


def test_each_class_goes_over_the_wire_and_comes_back_as_itself() -> None:
    for kind in STATUS:
        answer = refusal(kind("some_code", "a sentence", left={"vcpu": 1}), "r")
        error = problem_error(answer.status_code, bytes(answer.body))
        assert (type(error), error.code, error.detail, dict(error.extra)) == (kind, "some_code", "a sentence", {"left": {"vcpu": 1}})


@pytest.mark.parametrize(("status", "kind"), [(405, errors.Invalid), (410, errors.Stale), (415, errors.Invalid), (500, errors.Failed)])
async def test_refusals_are_not_repeated(status: int, kind: type[errors.HouyiError]) -> None:
    both = Both(problem(status, "a_code"))
    assert await both.request("GET", "/v1/vms/x") == (kind, "a_code")
    assert len(both.seen) == 1


def _small_api(asked: httpx2.Request) -> httpx2.Response:
    if asked.url.params.get("watch"):
        return httpx2.Response(200, content=b'{"op":"put","revision":1}\n\n{"op":"bookmark","revision":2}\n')
    if asked.url.path.endswith("/log"):
        return httpx2.Response(200, content=b"\x00log")
    if asked.url.path.endswith("/bad"):
        return httpx2.Response(404, json={"code": "gone", "detail": "d"})
    second = asked.url.params.get("page_token") == "t2"
    return httpx2.Response(200, json={"items": [2] if second else [1], "revision": 5, "next": None if second else "t2"})


async def test_pages_lines_and_content() -> None:
    mock = httpx2.MockTransport(_small_api)
    with Transport("http://api", "t", project="p", transport=mock) as client:
        assert [page["items"] for page in client.pages("/v1/x")] == [[1], [2]]
        assert [line["revision"] for line in client.lines("/v1/x", params={"watch": True})] == [1, 2]
        assert client.content("/v1/x/log") == b"\x00log"
        for act in (lambda: list(client.lines("/bad")), lambda: client.content("/bad"), lambda: client.upload("/bad", iter([b"x"]), headers={})):
            with pytest.raises(errors.NotFound):
                act()
    async with AsyncTransport("http://api", "t", transport=mock) as other:
        assert [page["items"] async for page in other.pages("/v1/x")] == [[1], [2]]
        assert [line["revision"] async for line in other.lines("/v1/x", params={"watch": True})] == [1, 2]
        assert await other.content("/v1/x/log") == b"\x00log"
        with pytest.raises(errors.NotFound):
            await other.content("/bad")


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://", "http://x:99999", "http://[", "//x", "http://x:0"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(errors.Invalid):
        Server.of(url, "t")


def test_urls_of_websockets() -> None:
    assert Server.of("http://h:1/", "t").websocket_url("/v1/x") == "ws://h:1/v1/x"
    assert Server.of("https://h", "t", "a b").websocket_url("/v1/x", ticket="s&e") == "wss://h/v1/x?project=a+b&ticket=s%26e"


def test_proxies_do_not_lead_home() -> None:
    assert not Server.of("http://127.0.0.1:7480", "t").through_proxy
    assert Server.of("https://houyi.example.org", "t").through_proxy


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
def test_a_part_of_a_path_stays_one_part(name: str) -> None:
    try:
        made = path("vms", name)
    except errors.Invalid:
        made = ""
    assert bool(made) == (name not in (".", ".."))
    assert not made or (made.startswith("/v1/vms/") and made.count("/") == 3 and not set(made) & set("?#& "))


@given(st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]), st.integers(0, 10), st.integers(200, 599))
def test_only_a_busy_server_is_asked_again(method: str, attempt: int, status: int) -> None:
    again = pause_after(request(method, "/", None, None, None), attempt, status)
    assert (again is not None) == (status in (429, 503) and attempt < len(PAUSES))


def test_lines_of_a_stream() -> None:
    assert parse_line('data: {"a":1}') == {"a": 1}
    assert parse_line("") is None
    assert parse_line(": comment") is None
    assert texts({"a": False, "b": 1.5, "c": None}) == {"a": "false", "b": "1.5"}
