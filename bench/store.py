"""Durable writes a second of the store, at 1, 32 and 256 waiters, on SQLite and PostgreSQL, each compared with a plain loop in the same run.

    .venv/bin/python bench/store.py [--seconds 2] [--rounds 3]

An apply here is what a change of a VM is: the record is expected at a revision and written with a new one, and an event is added beside it.
The loop writes the same rows with the bare driver, one commit each, and nothing else: no expectation, no change feed, no batch.
"""

import argparse
import asyncio
import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from houyi.model.event import Event  # noqa: E402 - found by the path above
from houyi.model.ids import EventId  # noqa: E402
from houyi.model.vm import DesiredVm  # noqa: E402
from houyi.store.rows.event import insert_event  # noqa: E402
from houyi.store.rows.image import insert_image  # noqa: E402
from houyi.store.rows.project import insert_project  # noqa: E402
from houyi.store.rows.vm import expect_vm, insert_vm, update_vm  # noqa: E402
from houyi.store.store import Store  # noqa: E402
from made import MINE, a_project, a_vm, an_image, new_id  # noqa: E402
from postgres import running_postgres  # noqa: E402

WAITERS = (1, 32, 256)
LIMIT_SECONDS = 600

Write = Callable[[str, str], Awaitable[None]]
"""One durable write of the plain loop: a VM's id, an event's id."""

_UPDATE = "UPDATE vm SET doc = {}, revision = revision + 1 WHERE id = {}"
_INSERT = "INSERT INTO event (id, project_id, kind, target_kind, target_id, doc, created_at, revision) VALUES ({}, {}, 'vm.update', 'vm', {}, {}, 1.0, 1)"
_DOC = "x" * 400
"""About as long as the documents that the store writes."""


def _event(vm: DesiredVm) -> Event:
    return Event(
        id=EventId(new_id()), project_id=MINE, kind="vm.update", target_kind="vm", target_id=vm.id, target_name=vm.name, detail="changed", actor="bench", at=1.0
    )


async def _applies(store: Store, vms: list[tuple[DesiredVm, int]], seconds: float) -> float:
    """Applies a second of as many waiters as there are VMs."""
    done = 0
    end = time.monotonic() + seconds

    async def waiter(number: int) -> None:
        nonlocal done
        while time.monotonic() < end:
            vm, revision = vms[number]
            vms[number] = vm, await store.apply([update_vm(vm, False), insert_event(_event(vm))], [expect_vm(vm.id, revision)])
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(waiter(number) for number in range(len(vms))))
    return done / (time.monotonic() - began)


async def _plain(write: Write, vm_id: str, seconds: float) -> float:
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        await write(vm_id, new_id())
        done += 1
    return done / (time.monotonic() - began)


def _sqlite_loop(path: Path) -> Write:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous=FULL")
    places = ("?",) * 4

    async def write(vm_id: str, event_id: str) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_UPDATE.format("?", "?"), (_DOC, vm_id))
        connection.execute(_INSERT.format(*places), (event_id, MINE, vm_id, _DOC))
        connection.execute("COMMIT")

    return write


async def _postgres_loop(url: str) -> Write:
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg:", "postgresql:"))

    async def write(vm_id: str, event_id: str) -> None:
        async with connection.transaction():
            await connection.execute(_UPDATE.format("$1", "$2"), _DOC, vm_id)
            await connection.execute(_INSERT.format("$1", "$2", "$3", "$4"), event_id, MINE, vm_id, _DOC)

    return write


async def _filled(store: Store, count: int) -> list[tuple[DesiredVm, int]]:
    image = an_image()
    await store.apply([insert_project(a_project()), insert_image(image)])
    vms = [a_vm(image, f"vm-{number}") for number in range(count)]
    return [(vm, await store.apply([insert_vm(vm, False, 1.0)])) for vm in vms]


async def _compare(engine: str, url: str, loop: Callable[[], Awaitable[Write]], seconds: float, rounds: int) -> None:
    store = await Store.open(url)
    try:
        vms = await _filled(store, max(WAITERS) + 1)
        (spare, _), vms = vms[-1], vms[:-1]
        write = await loop()
        for waiters in WAITERS:
            plain, folded = [], []
            before = store.figures.batches
            for _ in range(rounds):
                plain.append(await _plain(write, spare.id, seconds))
                some = vms[:waiters]
                folded.append(await _applies(store, some, seconds))
                vms[:waiters] = some
            ratios = [ours / theirs for ours, theirs in zip(folded, plain, strict=True)]
            shared = sum(folded) * seconds / (store.figures.batches - before)
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {engine} | {waiters} | {ratio} | {statistics.median(folded):.0f} | {statistics.median(plain):.0f} | {shared:.0f} |", flush=True)
    finally:
        await store.close()


def run(seconds: float, rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(durable=True))
        postgres.sql("CREATE DATABASE bench")
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="houyi-bench-"))) / "houyi.db"

        async def sqlite_loop() -> Write:
            return _sqlite_loop(path)

        print("| engine | waiters | store / plain loop | applies/s | loop commits/s | applies a commit |\n|---|---:|---:|---:|---:|---:|")
        asyncio.run(_compare("SQLite", f"sqlite:///{path}", sqlite_loop, seconds, rounds))
        url = postgres.url("bench")
        asyncio.run(_compare("PostgreSQL", url, lambda: _postgres_loop(url), seconds, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="Of each measurement.")
    parser.add_argument("--rounds", type=int, default=3, help="Measurements of each kind, in turn.")
    asked = parser.parse_args()
    needed = asked.seconds * asked.rounds * len(WAITERS) * 4
    if needed > LIMIT_SECONDS:
        parser.error(f"that would take {needed:.0f} s: at most {LIMIT_SECONDS}")
    run(asked.seconds, asked.rounds)


if __name__ == "__main__":
    main()
