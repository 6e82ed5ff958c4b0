"""Placement: choices a second over fleets of several sizes (pure, numpy), and claims a second through the store, in one run.

    .venv/bin/python bench/placement.py [--seconds 2] [--claims 1000]

A choice is a whole one: every filter and score over every host, the fleet told of it. A fleet has racks, zones, hosts of three sizes, a tenth of them with two
NUMA nodes, and is half full. A claim goes the way of the server: a pass of the placement reconciler over VMs that wait, each claim checked again in its own
transaction, with its event, durable. Beside rates by the clock stand those by CPU time of this process, which other load on the machine does not change.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fleets import RATIOS, a_group, a_host  # noqa: E402 - found by the path above
from houyi.base.clock import SystemClock  # noqa: E402
from houyi.base.config import Settings  # noqa: E402
from houyi.base.ids import RandomIds  # noqa: E402
from houyi.base.log import set_up  # noqa: E402
from houyi.control.control import Control  # noqa: E402
from houyi.control.reconcilers.placement import place_vms  # noqa: E402
from houyi.model.host import Host  # noqa: E402
from houyi.model.placement_group import FaultDomain  # noqa: E402
from houyi.planning.placement.choose import choose, limits  # noqa: E402
from houyi.planning.placement.fleet import Fleet, Request  # noqa: E402
from houyi.store.rows.vm import insert_vm  # noqa: E402
from houyi.store.store import Store  # noqa: E402
from houyi.store.views.vm import all_vms  # noqa: E402
from made import MINE, a_vm, put_host, put_image, put_projects  # noqa: E402
from postgres import running_postgres  # noqa: E402

FLEETS = (100, 1_000, 10_000)
CLAIM_FLEETS = (100, 1_000)
ROOM = {"vcpu": 64, "memory_mib": 256 << 10, "disk_gib": 4000}


def _host(number: int, dice: random.Random) -> Host:
    cpus = dice.choice([32, 64, 128])
    memory_mib = cpus * 4096
    host = a_host(
        f"host-{number:06}",
        cpus=cpus,
        memory_mib=memory_mib,
        disk_gib=cpus * 50,
        numa=2 if number % 10 == 0 else 1,
        labels={"rack": f"r{number // 20}", "zone": f"z{number % 3}"},
    )
    share = dice.uniform(0.2, 0.8)
    return replace(host, claimed={name: int(share * amount) for name, amount in host.capacity.items()})


def _requests(dice: random.Random) -> Iterator[Request]:
    groups = [a_group(scope=dice.choice(list(FaultDomain)[:2]), name=f"g{n}") for n in range(50)]
    while True:
        vcpu = dice.choice([1, 1, 2, 2, 4, 8])
        asked = {"vcpu": vcpu, "memory_mib": vcpu * dice.choice([1024, 2048, 4096]), "disk_gib": 10 * vcpu}
        labels = {"zone": f"z{dice.randrange(3)}"} if dice.random() < 0.1 else {}
        yield Request(asked=asked, labels=labels, group=dice.choice(groups) if dice.random() < 0.1 else None)


def choices(seconds: float) -> None:
    print("| hosts | fleet made, CPU ms | choices a CPU second | p50 us | p99 us |\n|---:|---:|---:|---:|---:|")
    for size in FLEETS:
        dice = random.Random(size)
        hosts = [_host(number, dice) for number in range(size)]
        room = [limits(host, RATIOS, 512) for host in hosts]
        cpu = time.process_time()
        fleet = Fleet(hosts, room)
        made = time.process_time() - cpu
        asks, times = _requests(dice), []
        choose(fleet, next(asks))
        used = 0.0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            request = next(asks)
            cpu, began = time.process_time(), time.perf_counter()
            choice = choose(fleet, request)
            if choice.host_id is not None:
                fleet.take(choice.host_id, choice.amounts, request.group)
            times.append(time.perf_counter() - began)
            used += time.process_time() - cpu
        times.sort()
        p50, p99 = (1e6 * times[int(len(times) * share)] for share in (0.5, 0.99))
        print(f"| {size:,} | {1000 * made:.0f} | {len(times) / used:,.0f} | {p50:.0f} | {p99:.0f} |", flush=True)


async def _claims(url: str, hosts: int, count: int) -> tuple[int, float, float]:
    """How many were placed, in how many seconds, with how many of CPU time."""
    store = await Store.open(url)
    control = Control(store, SystemClock(), RandomIds(), Settings())
    await put_projects(store)
    image = await put_image(store)
    await asyncio.gather(*(put_host(store, f"h{number}", capacity=ROOM) for number in range(hosts)))
    await asyncio.gather(*(store.apply([insert_vm(a_vm(image, f"vm{number}"), False, 1.0)]) for number in range(count)))
    cpu, began = time.process_time(), time.perf_counter()
    await place_vms(control)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    placed = sum(vm.host_id is not None for vm in await store.read(lambda c: all_vms(c, MINE)))
    await store.close()
    return placed, took, used


def claims(count: int) -> None:
    print("\n| store | hosts | VMs placed | claims/s | server CPU ms a claim |\n|---|---:|---:|---:|---:|")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="houyi-bench-"))
        postgres = stack.enter_context(running_postgres(durable=True))
        for hosts in CLAIM_FLEETS:
            postgres.sql(f"CREATE DATABASE bench{hosts}")
            for engine, url in (("SQLite", f"sqlite:///{folder}/{hosts}.db"), ("PostgreSQL", postgres.url(f"bench{hosts}"))):
                placed, took, used = asyncio.run(_claims(url, hosts, count))
                print(f"| {engine} | {hosts:,} | {placed:,} | {placed / took:,.0f} | {1000 * used / placed:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="Of choosing in each fleet.")
    parser.add_argument("--claims", type=int, default=1000, help="VMs that wait in each store.")
    asked = parser.parse_args()
    set_up("error")
    choices(asked.seconds)
    claims(asked.claims)


if __name__ == "__main__":
    main()
