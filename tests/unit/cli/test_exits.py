"""Errors: one line that says what to do next, and an exit code by kind."""

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.cli.exits import EXIT_CODES, exit_code, sentence
from houyi.model import errors
from houyi.sdk.problems import BY_STATUS
from unit.cli.conftest import Houyi
from unit.cli.fake_api import FakeApi

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HouyiError) and kind is not errors.HouyiError]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_its_code(kind: type[errors.HouyiError]) -> None:
    assert kind in EXIT_CODES
    assert exit_code(kind("a_code", "a sentence")) == EXIT_CODES[kind]


def test_a_kind_of_a_kind_exits_alike() -> None:
    class Gone(errors.NotFound):
        pass

    assert exit_code(Gone("x", "y")) == 3
    assert exit_code(errors.HouyiError("x", "y")) == 1


STATUS = [(400, 2), (401, 5), (403, 5), (404, 3), (409, 4), (410, 4), (412, 4), (413, 2), (418, 2), (422, 2), (500, 1), (502, 1), (507, 6)]


@pytest.mark.parametrize(("status", "code"), STATUS)
def test_a_problem_becomes_a_line_and_a_code(houyi: Houyi, api: FakeApi, status: int, code: int) -> None:
    api.refuse("GET", "/v1/vms/hello", status, "some_code", "it is so: do this")
    ran = houyi("vm", "show", "hello", "-o", "json")
    assert (ran.code, ran.out, ran.err) == (code, "", "error: it is so: do this (some_code)\n")


def test_every_class_has_a_status_that_leads_to_it() -> None:
    assert set(BY_STATUS.values()) | {errors.Failed} == set(CLASSES)


def test_advice_where_the_sentence_has_none() -> None:
    assert (
        sentence(errors.Unauthenticated("token_expired", "the token has expired")) == "error: the token has expired (token_expired); log in with `houyi login`"
    )
    assert sentence(errors.Unauthenticated("x", "it expired: log in again")) == "error: it expired: log in again (x)"


@given(st.text())
def test_always_one_line(detail: str) -> None:
    assert len(sentence(errors.Failed("x", detail)).splitlines()) == 1


def test_fields_of_a_bad_request_are_said(houyi: Houyi, api: FakeApi) -> None:
    api.refuse("POST", "/v1/projects", 422, "invalid_request", "the request is not valid", fields=[{"field": "body.name", "problem": "too long"}])
    assert houyi("project", "create", "p").err == "error: the request is not valid; body.name: too long (invalid_request)\n"


def test_an_answer_of_something_else(houyi: Houyi, api: FakeApi) -> None:
    from starlette.responses import Response

    api.answer("GET", "/v1/vms/hello", (200, Response(b"<html>", 200)))
    ran = houyi("vm", "show", "hello")
    assert (ran.code, "answer_unreadable" in ran.err) == (1, True)
    api.answer("GET", "/v1/vms/hello", (404, Response(b"<html>", 404)))
    ran = houyi("vm", "show", "hello")
    assert (ran.code, "http_error" in ran.err) == (3, True)


def test_no_server(houyi: Houyi) -> None:
    ran = houyi("vm", "list", "--api-url", "http://127.0.0.1:9")
    assert ran.code == 7
    assert "houyi up" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "vm", "vm shwo x", "vm show", "vm show a b", "vm create x", "vm create x --image i --memory 5x", "vm create x --image i --memory 100KiB",
        "vm create x --image i --bogus", "vm create x --image i --network ,address=1", "vm create x --image i --label novalue", "vm set hello",
        "vm stop x --grace soon", "image import x", "image import x --file /nothing --url http://x", "host label node1",
        "host label node1 novalue", "vm-type set x", "operation wait", "bogus", "vm list -o xml", "vm list --api-url ftp://x",
    ],
)  # fmt: skip
def test_mistakes_in_the_command_line(houyi: Houyi, api: FakeApi, line: str) -> None:
    ran = houyi(*line.split())
    if line == "vm":
        assert ran.code == 0
        assert "COMMAND" in ran.out
        return
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert not any(one.method != "GET" for one in api.asked)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_is_no_name_leads_nowhere(houyi: Houyi, api: FakeApi, name: str) -> None:
    ran = houyi("vm", "show", name)
    assert (ran.code, "reference_invalid" in ran.err) == (2, True)
    assert api.asked == []


@pytest.mark.parametrize("name", ["a/b", "a?b=c", "a#b", "a%2Fb", "ü", "-x", "a b"])
def test_a_name_stays_one_part_of_the_path(houyi: Houyi, api: FakeApi, name: str) -> None:
    """Whatever is typed, only the one VM of that name is asked for."""
    from urllib.parse import unquote

    houyi("vm", "show", "--", name)
    assert [unquote(one.path).removeprefix("/v1/vms/") for one in api.asked] in ([name], [unquote(name)])
    assert not api.asked[0].params


def test_the_reader_may_have_enough(houyi: Houyi, api: FakeApi) -> None:
    import os
    import subprocess
    import sys

    program = "import sys; from houyi.cli.app import build_app; from houyi.cli.run import run_app; sys.exit(run_app(build_app()))"
    big = {"items": [{"id": str(n), "name": "x" * 1000} for n in range(500)], "revision": 1, "next": None}
    api.answer("GET", "/v1/projects", (200, big))
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program, "project", "list", "-o", "json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert os.read(read, 1)
    os.close(read)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


def test_json_survives_odd_text(houyi: Houyi, api: FakeApi) -> None:
    odd = {"id": "1", "name": "ü\u2028\x1b[31m"}
    api.answer("GET", "/v1/projects/x", (200, odd))
    api.answer("GET", "/v1/projects", (200, {"items": [odd], "revision": 1, "next": None}))
    assert json.loads(houyi("project", "list", "-o", "json").out) == [odd]
