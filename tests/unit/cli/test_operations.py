"""Following operations: stages, the end, time-outs, interrupts; lists that are watched."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from houyi.sdk.core import PAUSES
from unit.cli.conftest import Houyi
from unit.cli.fake_api import DONE, EVENT, OPERATION, TOKEN, VM, FakeApi, numbered

OP = f"/v1/operations/{numbered(1)}"
PROGRAM = "import sys; from houyi.cli.app import build_app; from houyi.cli.run import run_app; sys.exit(run_app(build_app()))"


def running(stage: str, share: float, **more: object) -> dict[str, object]:
    return {**OPERATION, "state": "running", "stage": stage, "progress": share, **more}


def test_stages_are_lines_where_nobody_watches(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", OP, (200, running("fetching image", 0.1)), (200, running("fetching image", 0.3)), (200, running("starting", 0.9)), (200, DONE))
    ran = houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small")
    assert ran.code == 0
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[:2] == ["create web: fetching image", "create web: starting"]
    assert "10.80.0.2" in lines[-1]
    assert "houyi vm console web" in lines[-1]
    assert float(api.asked[1].params["wait"]) > 0


def test_what_it_waits_for_is_said(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", OP, (200, running("", 0.0, blocked_on="a host with room")), (200, DONE))
    assert "waits for a host with room" in houyi("vm", "start", "hello").err


def test_it_stays_with_an_operation_while_the_server_is_started_again(houyi: Houyi, api: FakeApi) -> None:
    away = (503, {"type": "about:blank", "title": "t", "status": 503, "code": "store_unreachable", "detail": "the store does not answer", "request_id": "r"})
    api.answer("GET", OP, (200, running("0 of 2 moved, 2 under way", 0.0)), *[away] * (len(PAUSES) + 2), (200, DONE))
    ran = houyi("host", "drain", "node1")
    assert ran.code == 0, ran.err
    assert "drain node1: the server does not answer: trying again" in ran.err


def test_a_failed_operation(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", OP, (200, {**OPERATION, "state": "failed", "error": {"code": "disk_full", "detail": "the disk is full: free space"}}))
    ran = houyi("vm", "start", "hello", "-o", "json")
    assert (ran.code, ran.out, ran.err) == (1, "", "error: start hello: the disk is full: free space (disk_full)\n")


def test_a_cancelled_operation(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", OP, (200, {**OPERATION, "state": "cancelled"}))
    ran = houyi("image", "import", "x", "--url", "http://e.org/x")
    assert (ran.code, "operation_cancelled" in ran.err) == (1, True)


def test_not_waiting(houyi: Houyi, api: FakeApi) -> None:
    ran = houyi("vm", "start", "hello", "--no-wait", "-o", "json")
    assert ran.json == OPERATION
    assert f"houyi operation show {numbered(1)}" in ran.err
    assert [one.method for one in api.asked] == ["POST"]


def test_the_end_of_patience(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", OP, (200, running("slow", 0.5)))
    ran = houyi("vm", "start", "hello", "--timeout", "0.1s")
    assert ran.code == 7
    assert f"goes on: `houyi operation wait {numbered(1)}`" in ran.err


def test_waiting_for_the_guest(houyi: Houyi, api: FakeApi) -> None:
    path = f"/v1/vms/{numbered(3)}"
    api.answer("GET", path, (200, {**VM, "guest_agent": "disconnected"}), (200, VM))
    ran = houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small", "--wait-for", "guest")
    assert ran.code == 0
    assert "waiting for the guest to answer" in ran.err
    api.answer("GET", path, (200, {**VM, "guest_agent": "disconnected"}))
    ran = houyi("vm", "create", "web", "--image", "tiny", "--type", "c1.small", "--wait-for", "guest", "--timeout", "1s")
    assert ran.code == 7


def environment(api: FakeApi) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOUYI_API_URL": api.url, "HOUYI_API_TOKEN": TOKEN, "TERM": "xterm-256color"}


def test_ctrl_c_says_that_it_goes_on(api: FakeApi, home: Path) -> None:
    api.answer("GET", OP, (200, running("slow", 0.5)))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "vm", "start", "hello"], env=environment(api), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "slow" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"goes on: `houyi operation wait {numbered(1)}`" in err
    assert "Traceback" not in err


def test_a_bar_on_a_terminal(api: FakeApi, home: Path) -> None:
    api.answer("GET", OP, (200, running("fetching image", 0.5)), (200, DONE))
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "vm", "start", "hello"], env=environment(api), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    assert process.wait(20) == 0
    assert b"50%" in seen
    assert b"fetching image" in seen
    assert b"start hello: done" in seen
    os.close(ours)


@pytest.mark.parametrize(("environ", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_only_where_they_are_wanted(api: FakeApi, home: Path, environ: dict[str, str], colour: bool) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "vm", "list"], env={**environment(api), **environ}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        seen += data
    assert process.wait(20) == 0
    assert b"running" in seen
    assert (b"\x1b[32m" in seen) is colour
    os.close(ours)


def test_watching_a_list(api: FakeApi, home: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "vm", "list", "--watch", "-o", "json"]
    process = subprocess.Popen(command, env=environment(api), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert lines[0] == {"change": "present", "object": VM}
    assert lines[1] == {"change": "changed", "object": {**VM, "state": "stopped"}}
    assert lines[2] == {"change": "removed", "object": {"id": VM["id"]}}
    watching = next(one for one in api.asked if one.params.get("watch"))
    assert watching.params == {"watch": "1", "since": "11"}
    deadline = time.monotonic() + 10
    while len([one for one in api.asked if one.params.get("since") == "13"]) < 1:
        assert time.monotonic() < deadline, "a stream that ended is taken up at its last revision"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.communicate()


def test_events_as_they_happen(api: FakeApi, home: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "event", "watch", "--kind", "vm.create", "-o", "json"]
    process = subprocess.Popen(command, env=environment(api), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {**EVENT, "state": "stopped"}
    assert json.loads(process.stdout.readline())["id"] == EVENT["id"]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.communicate()
    assert [one.params for one in api.asked][:2] == [{"watch": "1", "kind": "vm.create"}, {"watch": "1", "kind": "vm.create", "since": "13"}]


def test_watching_needs_a_server_to_begin_with(houyi: Houyi) -> None:
    for line in ("vm list --watch", "event watch"):
        assert houyi(*line.split(), "--api-url", "http://127.0.0.1:9").code == 7


def test_a_watch_that_is_too_old_lists_again(api: FakeApi, home: Path) -> None:
    from houyi.cli.watch import changes
    from houyi.sdk.transport import Transport

    api.answer("GET", "/v1/vms", (200, {"items": [VM], "revision": 1, "next": None}), (410, {"code": "watch_too_old", "detail": "x"}),
               (200, {"items": [], "revision": 9, "next": None}))  # fmt: skip
    with Transport(api.url, TOKEN) as transport:
        stream = changes(transport, "/v1/vms", {})
        assert next(stream)["change"] == "present"
        assert next(stream) == {"change": "removed", "object": {"id": VM["id"]}}
