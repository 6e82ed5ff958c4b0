"""Consoles against a server that says what a test gives it: ends with reasons, refusals, viewers on loopback."""

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.websockets import WebSocket

from houyi.cli.vm_console import reason_of
from houyi.model.errors import Conflict, Failed, Unavailable
from unit.cli.conftest import Houyi
from unit.cli.fake_api import TOKEN, FakeApi

PROGRAM = "import sys; from houyi.cli.app import build_app; from houyi.cli.run import run_app; sys.exit(run_app(build_app()))"


def environment(api: FakeApi) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOUYI_API_URL": api.url, "HOUYI_API_TOKEN": TOKEN}


def console(api: FakeApi, given: bytes, *more: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", PROGRAM, "vm", "console", "hello", *more]
    return subprocess.run(command, env=environment(api), input=given, capture_output=True, timeout=30)


async def echo(websocket: WebSocket) -> None:
    await websocket.send_bytes(b"hello\r\n")
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await websocket.send_bytes((message.get("bytes") or b"").upper())


def test_a_pipe_gets_everything(api: FakeApi, home: Path) -> None:
    api.talk = echo
    big = os.urandom(300_000)
    done = console(api, big, "--idle", "1s")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"hello\r\n" + big.upper()
    asked = next(one for one in api.asked if one.method == "WS")
    assert asked.path == "/v1/vms/hello/console"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "said"),
    [
        (1000, "", 0, b""),
        (4000, "not_running: start it first", 4, b"error: start it first (not_running)\n"),
        (4000, "link_lost: look at the host", 1, b"error: look at the host (link_lost)\n"),
        (1011, "", 7, b"console_broken"),
    ],
)
def test_why_it_ended(api: FakeApi, home: Path, code: int, reason: str, exit_code: int, said: bytes) -> None:
    async def end(websocket: WebSocket) -> None:
        await websocket.send_bytes(b"last words")
        await websocket.close(code, reason)

    api.talk = end
    done = console(api, b"", "--idle", "10s")
    assert (done.returncode, done.stdout) == (exit_code, b"last words")
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_refusal_before_it_begins(api: FakeApi, home: Path) -> None:
    api.denied = (409, {"code": "vm_has_no_host", "detail": "wait until it has one", "status": 409})
    done = console(api, b"")
    assert (done.returncode, done.stderr) == (4, b"error: wait until it has one (vm_has_no_host)\n")


def test_no_server(api: FakeApi, home: Path) -> None:
    done = console(api, b"", "--api-url", "http://127.0.0.1:9")
    assert done.returncode == 7
    assert b"console_unreachable" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_put_back_when_we_are_killed(api: FakeApi, home: Path, number: signal.Signals) -> None:
    api.talk = echo
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "vm", "console", "hello"], env=environment(api), stdin=theirs, stdout=theirs, stderr=theirs)
    seen = _read_until(ours, b"hello\r\n")
    assert b"Ctrl-]" in seen
    assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def test_the_terminal_is_put_back_when_the_server_ends_it(api: FakeApi, home: Path) -> None:
    async def end(websocket: WebSocket) -> None:
        await websocket.send_bytes(b"\x1b[31m\x1b[?25lbye")
        await websocket.close(4000, "host_unreachable: it is away")

    api.talk = end
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "vm", "console", "hello"], env=environment(api), stdin=theirs, stdout=theirs, stderr=theirs)
    seen = _read_until(ours, b"(host_unreachable)")
    assert process.wait(20) == 7
    assert seen.index(b"\x1b[?25h") > seen.index(b"bye"), "the cursor is shown again"
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def _read_until(descriptor: int, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        seen += os.read(descriptor, 4096)
    return seen


def test_a_viewer_on_loopback(api: FakeApi, home: Path) -> None:
    async def rfb(websocket: WebSocket) -> None:
        await websocket.send_bytes(b"RFB 003.008\n")
        message = await websocket.receive()
        await websocket.send_bytes(b"heard " + (message.get("bytes") or b""))
        await asyncio.sleep(0.2)

    api.talk = rfb
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "vm", "vnc", "hello", "-o", "json"], env=environment(api), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("}"):
        text += process.stdout.readline()
    told = json.loads(text)
    assert told["host"] == "127.0.0.1"
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", told["port"]), timeout=10) as viewer:
            assert viewer.recv(100) == b"RFB 003.008\n"
            viewer.sendall(b"RFB 003.008\n")
            assert viewer.recv(100) == b"heard RFB 003.008\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_the_url_for_a_browser(houyi: Houyi, api: FakeApi) -> None:
    url = houyi("vm", "vnc", "hello", "--no-listen").out.strip()
    parts = urlsplit(url)
    assert (parts.scheme, parts.path, parse_qs(parts.query)) == ("ws", "/v1/vms/hello/vnc", {"ticket": ["t1"]})
    assert TOKEN not in url
    assert houyi("vm", "vnc", "hello", "--no-listen", "-o", "json").json == {"url": url}


def test_a_port_that_is_taken(houyi: Houyi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = houyi("vm", "vnc", "hello", "--port", str(taken.getsockname()[1]))
    assert (ran.code, "vnc_port_taken" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1000, "", None),
        (1001, "", None),
        (4000, "no_video: x", Conflict),
        (4000, "other: x", Failed),
        (4000, "", Unavailable),
        (None, "", Unavailable),
        (1006, "a b: c", Unavailable),
    ],
)
def test_reasons(code: int | None, reason: str, kind: type[Exception] | None) -> None:
    found = reason_of(code, reason)
    assert found is None if kind is None else type(found) is kind


def test_bytes_are_not_lost_when_the_guest_is_slow(api: FakeApi, home: Path) -> None:
    async def slow(websocket: WebSocket) -> None:
        got = 0
        while got < 200_000:
            got += len((await websocket.receive()).get("bytes") or b"")
            await asyncio.sleep(0.05)
        await websocket.send_bytes(str(got).encode())
        await websocket.close(1000)

    api.talk = slow
    began = time.monotonic()
    done = console(api, b"x" * 200_000, "--idle", "20s")
    assert done.stdout == b"200000"
    assert time.monotonic() - began < 19, "it ends when the guest does, not when patience does"
