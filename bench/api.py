"""Requests a second of the whole API (HTTP, token, validation, store, JSON), on SQLite and on PostgreSQL, in turn in one run; writes are durable.

    .venv/bin/python bench/api.py [--seconds 3] [--rounds 3]

Two servers as `houyi server` runs them, one on each store, with one host (in the database only) and some VMs. The callers are plain sockets with
connections that stay open, in this process, so they share the machine with the server: the CPU time of the server a request is the steadier figure.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from houyi.base.clock import SystemClock  # noqa: E402 - found by the path above
from houyi.base.config import Settings  # noqa: E402
from houyi.base.ids import RandomIds  # noqa: E402
from houyi.control.control import Control  # noqa: E402
from houyi.control.first_start import first_start  # noqa: E402
from houyi.store.claims import claim_host  # noqa: E402
from houyi.store.rows.vm import insert_vm, put_observed  # noqa: E402
from houyi.store.store import Store  # noqa: E402
from houyi.store.views.project import get_project  # noqa: E402
from made import a_vm, an_image, an_observation, put_host, put_image  # noqa: E402
from postgres import running_postgres  # noqa: E402

VMS = 200
CALLERS = (1, 32)
START_SECONDS = 60.0
REST_SECONDS = 5.0
LIMIT_SECONDS = 900
ROOM = {"vcpu": 10**7, "memory_mib": 10**9, "disk_gib": 10**8}
"""Of the host: enough for whatever is created here."""


class Ask(NamedTuple):
    """What one request says; `make(n)` is the body of the n-th."""

    name: str
    method: str
    path: Callable[["Served"], str]
    make: Callable[[int], object] | None


@dataclass
class Served:
    """A server process on one store."""

    engine: str
    port: int
    token: str
    process: "subprocess.Popen[bytes]"
    vms: list[str]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx7wBbGIi0dbB9Qp7ifpBXjT4CDQGgmn5Jc6aYhI4rf bench"
_numbers = itertools.count()


def _new_vm(n: int) -> object:
    return {"name": f"vm-{n}-{random.getrandbits(40):x}", "image": "disk", "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "nics": [], "start": False}


def _new_key(n: int) -> object:
    return {"name": f"key-{n}-{random.getrandbits(40):x}", "public_key": KEY}


ASKS = (
    Ask("read a VM", "GET", lambda served: f"/v1/vms/{random.choice(served.vms)}", None),
    Ask("list 100 VMs", "GET", lambda served: "/v1/vms?limit=100", None),
    Ask("change a VM", "PATCH", lambda served: f"/v1/vms/{random.choice(served.vms)}", lambda n: {"labels": {"n": str(n)}}),
    Ask("add an SSH key", "POST", lambda served: "/v1/ssh-keys", _new_key),
    # Last, since nobody makes these VMs: their open operations keep the reconcilers busy.
    Ask("create a VM (accepted)", "POST", lambda served: "/v1/vms", _new_vm),
)


class Figures(NamedTuple):
    rate: float
    """Requests a second."""
    cpu_us: float
    """CPU time of the server process a request."""
    p50_ms: float
    p99_ms: float
    bad: int
    """Answers of 400 and above."""


async def _call(served: Served, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    """One request on an open connection: its status and body."""
    body = b"" if ask.make is None else json.dumps(ask.make(next(_numbers))).encode()
    head = f"{ask.method} {ask.path(served)} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {served.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), await reader.readexactly(int(fields.get("content-length", "0")))


async def _measure(served: Served, ask: Ask, callers: int, seconds: float) -> Figures:
    times: list[float] = []
    bad = 0
    end = time.monotonic() + seconds

    async def caller() -> None:
        nonlocal bad
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 22)
        while time.monotonic() < end:
            began = time.monotonic()
            status, _ = await _call(served, ask, reader, writer)
            times.append(time.monotonic() - began)
            bad += status >= 400
        writer.close()

    cpu, began = served.cpu_seconds(), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took, cpu = time.monotonic() - began, served.cpu_seconds() - cpu
    times.sort()
    return Figures(len(times) / took, 1e6 * cpu / len(times), 1000 * statistics.median(times), 1000 * times[int(len(times) * 0.99)], bad)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _prepare(url: str) -> tuple[str, list[str]]:
    """A database with a host, an image and VMs that run there; returns an administrator's token and the VMs' ids."""
    store = await Store.open(url)
    try:
        control = Control(store, SystemClock(), RandomIds(), Settings())
        token = await first_start(control, "10.80.0.0/24")
        assert token is not None, "the database was not empty"
        project = await store.read(lambda c: get_project(c, "default"))
        host_id = await put_host(store, "bench", capacity=ROOM, at=time.time())
        image = await put_image(store, an_image("disk", project_id=project.id))
        vms = [a_vm(image, f"there-{n}", project_id=project.id) for n in range(VMS)]
        for vm in vms:
            await store.apply([insert_vm(vm, False, time.time())])
            await store.apply([claim_host(vm, host_id, {"vcpu": 1, "memory_mib": 128, "disk_gib": 1}, ROOM, time.time())])
            await store.apply([put_observed(host_id, vm.project_id, an_observation(vm, epoch=1))])
        return token, [str(vm.id) for vm in vms]
    finally:
        await store.close()


@contextlib.contextmanager
def _serving(engine: str, url: str, folder: Path) -> Iterator[Served]:
    token, vms = asyncio.run(_prepare(url))
    port = _free_port()
    settings = {
        "HOUYI_STATE_DIR": str(folder),
        "HOUYI_SERVER__DATABASE_URL": url if engine == "PostgreSQL" else "",
        "HOUYI_SERVER__API_PORT": str(port),
        "HOUYI_SERVER__AGENTS_PORT": "0",
        "HOUYI_SERVER__LEASE_SECONDS": "1000000",
        "HOUYI_LOG__LEVEL": "warning",
        "PYTHONPATH": str(ROOT / "src"),
    }
    process = subprocess.Popen([sys.executable, "-m", "houyi", "server"], env={**os.environ, **settings})
    try:
        served = Served(engine, port, token, process, vms)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def run(seconds: float, rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(durable=True))
        postgres.sql("CREATE DATABASE bench")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="houyi-bench-")))
        for name in ("sqlite", "postgres"):
            (folder / name).mkdir()
        servers = [
            stack.enter_context(_serving("SQLite", f"sqlite:///{folder / 'sqlite' / 'houyi.db'}", folder / "sqlite")),
            stack.enter_context(_serving("PostgreSQL", postgres.url("bench"), folder / "postgres")),
        ]
        _rest(servers)
        print("\n| request | callers | SQLite / PostgreSQL | store | requests/s | server CPU us | p50 ms | p99 ms |\n|---|---:|---:|---|---:|---:|---:|---:|")
        for ask, callers in itertools.product(ASKS, CALLERS):
            _compare(servers, ask, callers, seconds, rounds)


def _rest(servers: list[Served]) -> None:
    before = [served.cpu_seconds() for served in servers]
    time.sleep(REST_SECONDS)
    shares = [100 * (served.cpu_seconds() - cpu) / REST_SECONDS for served, cpu in zip(servers, before, strict=True)]
    print("At rest the server takes " + ", ".join(f"{share:.1f} % of a CPU on {one.engine}" for one, share in zip(servers, shares, strict=True)))


def _compare(servers: list[Served], ask: Ask, callers: int, seconds: float, rounds: int) -> None:
    found: dict[str, list[Figures]] = {served.engine: [] for served in servers}
    for _ in range(rounds):
        for served in servers:
            found[served.engine].append(asyncio.run(_measure(served, ask, callers, seconds)))
    ratios = [a.rate / b.rate for a, b in zip(*found.values(), strict=True)]
    for number, (engine, figures) in enumerate(found.items()):
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if number == 0 else ""
        rate, cpu, p50, p99 = (statistics.median(one[column] for one in figures) for column in range(4))
        bad = sum(one.bad for one in figures)
        failed = f" ({bad} refused)" if bad else ""
        print(f"| {ask.name} | {callers} | {ratio} | {engine} | {rate:.0f}{failed} | {cpu:.0f} | {p50:.1f} | {p99:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="Of each measurement.")
    parser.add_argument("--rounds", type=int, default=3, help="Measurements of each kind on each store.")
    asked = parser.parse_args()
    needed = asked.seconds * asked.rounds * len(ASKS) * len(CALLERS) * 2
    if needed > LIMIT_SECONDS:
        parser.error(f"that would take {needed:.0f} s: at most {LIMIT_SECONDS}")
    run(asked.seconds, asked.rounds)


if __name__ == "__main__":
    main()
