"""The benchmark itself: for each load and policy one move after another, back and forth, and what the guest felt of each."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from houyi.model.ids import VmId
from houyi.model.migration import Terms
from houyi.model.vm import MigrationPolicy
from migration import writer
from migration.drive import Known, Moved, Ours, Theirs
from migration.hosts import Pair, pair
from migration.listen import Listener
from migration.policies import others
from migration.records import Record

WORKING_SET_MIB = 64
CAP_MIB_S = 64
RATES_MIB_S = (16, 48, 80, 160)
"""The first is calm, the second just converges, the third and fourth do not at the cap."""
LIMIT_SECONDS = 20.0
"""After it a move of another's policy is ended by the benchmark, and has failed."""
PATIENCE = 0.1
SETTLE_SECONDS, BEFORE_SECONDS, AFTER_SECONDS = 0.4, 0.9, 0.8
OURS = {
    "ours": Terms(),
    "ours, post-copy": Terms(postcopy=True),
    "ours, fast": Terms(policy=MigrationPolicy.FAST),
    "ours, gentle": Terms(policy=MigrationPolicy.GENTLE),
}


@dataclass
class Bench:
    pair: Pair
    listener: Listener
    delays: dict[float, int]
    out: Path
    known: Known

    async def rest(self, seconds: float) -> tuple[float, float]:
        began = time.monotonic()
        await asyncio.sleep(seconds)
        return began, time.monotonic()

    async def one(self, name: str, rate: float, number: int, move: "Callable[[Pair], object]") -> Record:
        here = self.pair.here
        self.listener.send(here, writer.delay(self.delays[rate]))
        await asyncio.sleep(SETTLE_SECONDS)
        self.listener.take()
        before = await self.rest(BEFORE_SECONDS)
        began = time.monotonic()
        moved: Moved = await move(self.pair)  # type: ignore[misc]
        ended = time.monotonic()
        after = await self.rest(AFTER_SECONDS)
        heard = writer.heard(self.listener.take())
        pace = writer.pace(heard.counts, *before)
        during = writer.pace(heard.counts, began, ended)
        slowed = max(0.0, 1 - during / pace) if pace else 0.0
        record = Record(
            policy=name,
            rate=rate,
            pace_mib_s=pace / 256,
            round=number,
            failed=moved.failed,
            seconds=moved.seconds,
            elapsed=moved.figures.elapsed_seconds,
            sent_mib=moved.figures.memory_sent_mib,
            rounds=moved.figures.rounds,
            downtime_ms=moved.figures.downtime_ms,
            gap_ms=1000 * writer.longest_gap(heard.beats, began, after[1]),
            rest_gap_ms=1000 * writer.longest_gap(heard.beats, before[0] + 0.05, before[1]),
            agent_gap_ms=moved.gap_ms,
            slowed=slowed,
            lost_seconds=slowed * (ended - began),
            after=writer.pace(heard.counts, ended, after[1]) / pace if pace else 0.0,
            throttle=moved.figures.throttle_percent,
            mode=moved.said,
            foretold=None
            if moved.forecast is None
            else {
                "converges": moved.forecast.converges,
                "seconds": moved.forecast.total_seconds,
                "downtime_ms": moved.forecast.downtime_ms,
                "sent_mib": moved.forecast.sent_mib,
                "mode": moved.forecast.mode.value,
                "why": moved.forecast.why,
                "inputs": dict(moved.forecast.inputs),
            },
        )
        with self.out.open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        print(_line(record), flush=True)
        return record


def _line(one: Record) -> str:
    told = "" if one.foretold is None else f"  foretold {one.foretold['seconds']:.1f} s {one.foretold['downtime_ms']:.0f} ms {one.foretold['mode']}"
    end = one.failed or "done"
    return (
        f"{one.policy:24} {one.rate:4.0f} ({one.pace_mib_s:.0f}) MiB/s  {one.seconds:5.1f} s ({one.elapsed:.1f})  {one.sent_mib:5.0f} MiB {one.rounds:2} rounds  stop {one.downtime_ms:4.0f} "
        f"gap {one.gap_ms:5.0f} (rest {one.rest_gap_ms:.0f}, agent {one.agent_gap_ms:.0f}) ms  slowed {one.slowed:4.0%} = {one.lost_seconds:.2f} s, after {one.after:.0%}  "
        f"throttle {one.throttle} {one.mode}{told}  {end}"
    )


async def calibrate(listener: Listener, here: int, rates: Sequence[float]) -> dict[float, int]:
    """How often the guest has to spin after each page, to write so many MiB/s."""
    found = []
    for spins in (2000, 20000):
        listener.send(here, writer.delay(spins))
        await asyncio.sleep(0.3)
        listener.take()
        began = time.monotonic()
        await asyncio.sleep(1.0)
        pages = writer.pace(writer.heard(listener.take()).counts, began, began + 0.9)
        found.append((spins, 1 / pages))
    (few, short), (many, long) = found
    spin = (long - short) / (many - few)
    page = short - few * spin
    print(f"calibrated: a page {page * 1e6:.1f} us, a spin {spin * 1e9:.2f} ns", flush=True)
    return {rate: max(1, round((1 / (rate * 256) - page) / spin)) for rate in rates}


async def boot(listener: Listener) -> None:
    for _ in range(100):
        await asyncio.sleep(0.2)
        if len(writer.heard(listener.take()).beats) > 100:
            return
    raise TimeoutError("the guest does not beat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    rounds: int
    ours: int
    """How many moves of ours to one of the others'."""
    rates: Sequence[float]
    names: Sequence[str]
    seed: int
    patience: float
    noise: float
    limit: float
    seconds: float
    """After so many no further move is begun."""
    out: Path


async def run(plan: Plan) -> None:
    order, until = random.Random(plan.seed), time.monotonic() + plan.seconds
    known = Known()
    async with pair(WORKING_SET_MIB, plan.noise) as found:
        listener = Listener()
        try:
            for side in found.sides:
                listener.watch(side.serial(found.vm))
            await boot(listener)
            bench = Bench(found, listener, await calibrate(listener, found.here, plan.rates), plan.out, known)
            for number in range(plan.rounds):
                for rate in order.sample(list(plan.rates), len(plan.rates)):
                    await _load(bench, plan, rate, number, order.sample(list(plan.names), len(plan.names)), until)
        finally:
            listener.close()


async def _load(bench: Bench, plan: Plan, rate: float, number: int, names: Sequence[str], until: float) -> None:
    """All policies over one load."""
    theirs = others((writer.BASE_MIB + WORKING_SET_MIB + 4) / 1024, plan.patience)
    guest = VmId(f"guest-{rate:g}")
    bench.listener.send(bench.pair.here, writer.delay(bench.delays[rate]))
    if guest not in bench.known.samples and set(names) & set(OURS):
        await asyncio.sleep(SETTLE_SECONDS)
        await Ours(_capped(Terms()), guest, bench.known).sample(bench.pair)
    for name in names:
        for again in range(1 if name in theirs else plan.ours):
            if time.monotonic() > until:
                return
            policy = Theirs(theirs[name](), CAP_MIB_S, plan.limit) if name in theirs else Ours(_capped(OURS[name]), guest, bench.known)
            await bench.one(name, rate, number * plan.ours + again, policy.move)


def _capped(terms: Terms) -> Terms:
    return replace(terms, bandwidth_mib_s_max=float(CAP_MIB_S))
