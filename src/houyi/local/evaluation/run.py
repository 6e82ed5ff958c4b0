"""One evaluation: open all places, go through rounds of benchmarks in random order, leave nothing behind, and say what came out.

Within a round, a benchmark runs in all places one after the other, in random order: the ratios of a round are of the same minute. What fails is a failed sample with its
reason, and the run goes on.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import houyi
from houyi.base.config import Settings
from houyi.local.evaluation.facts import machine_facts
from houyi.local.evaluation.guest import VmVenue, Wish, open_vm
from houyi.local.evaluation.here import MachineVenue, open_container
from houyi.local.evaluation.hosts import bound, find_host, is_here
from houyi.local.evaluation.peer import free_port, served
from houyi.local.evaluation.place import Said, Venue
from houyi.local.evaluation.tree import Tree
from houyi.model.errors import Failed, HouyiError, Invalid
from houyi.model.evaluation import BenchmarkFacts, Better, Evaluation, ExitCount, Measured, Place, PlaceFacts, PlaceKind, Sample
from houyi.planning.evaluation.benchmarks import BOOT, BOOT_SHOWS, BOOT_UNIT, Benchmark
from houyi.planning.evaluation.judge import compare
from houyi.sdk import AsyncClient
from houyi.wire.v1.host import Host

Tell = Callable[[str], None]

START_SECONDS = 120.0
"""What a program may take beside what it is asked to: emulated guests are slow, and some prepare for long."""
EXIT_SECONDS = 5
"""How long exits are traced, of a run that is a little longer."""
_LEAD_SECONDS = 1.0
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run."""

    places: tuple[Place, ...]
    """The first is the reference."""
    benchmarks: tuple[Benchmark, ...]
    boot: bool
    host: str
    seconds: int
    rounds: int
    cpus: int
    memory_mib: int
    seed: int
    quick: bool


class Opened:
    """All that is open during a run."""

    def __init__(self, run: str, tree: Tree | None) -> None:
        self.run, self.tree = run, tree
        self.venues: list[Venue] = []
        self.machine: MachineVenue | None = None
        """The other end of the network; None: the VMs are not on this machine."""
        self.host: Host | None = None

    @property
    def vms(self) -> list[VmVenue]:
        return [venue for venue in self.venues if isinstance(venue, VmVenue)]


async def evaluate(settings: Settings, plan: Plan, connect: Callable[[], AsyncClient], tell: Tell) -> Evaluation:
    """:param connect: to the API; called only when there is a VM among the places.

    :raise NotFound: `bench_tree_missing`, `bench_image_missing`, `host_not_found`. :raise Invalid: `place_elsewhere`, `bench_host_unclear`.
    :raise Failed: a place cannot be opened.
    """
    began = _now()
    machine = machine_facts()
    async with _opened(settings, plan, connect, tell) as opened:
        samples = await _rounds(opened, plan, tell)
        exits, exits_why = await _exits(opened, plan, tell)
        places = tuple(_place_facts(venue, plan) for venue in opened.venues)
    facts = _benchmark_facts(plan)
    machine["load after"] = machine_facts()["load before"]
    better = {one.name: one.better for one in facts}
    return Evaluation(
        format=FORMAT,
        version=houyi.__version__,
        id=opened.run,
        host=opened.host.name if opened.host else "",
        began_at=began,
        ended_at=_now(),
        seed=plan.seed,
        seconds=plan.seconds,
        rounds=plan.rounds,
        quick=plan.quick,
        emulated=_emulated(opened),
        machine=machine,
        reference=plan.places[0].name,
        places=places,
        benchmarks=facts,
        samples=samples,
        comparisons=compare(samples, better, [place.name for place in plan.places]),
        exits=exits,
        exits_why=exits_why,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@asynccontextmanager
async def _opened(settings: Settings, plan: Plan, connect: Callable[[], AsyncClient], tell: Tell) -> AsyncIterator[Opened]:
    """Every place of the plan, in its order; whatever happens, closed again."""
    run = f"bench-{uuid.uuid4().hex[:8]}"
    kinds = {place.kind for place in plan.places}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(connect()) if PlaceKind.VM in kinds else None
        host = await find_host(api, plan.host) if api else None
        here = host is None or is_here(host)
        if not here and kinds != {PlaceKind.VM}:
            raise Invalid(
                "place_elsewhere",
                f"the machine and containers are measured where this command runs, and {host.name if host else ''} is another: run it there, or compare VMs only",
            )
        opened = Opened(run, Tree.of(settings) if here else None)
        opened.host = host
        scratch = settings.state_dir / "build"
        if opened.tree is not None:
            opened.machine = MachineVenue(opened.tree, scratch / f"{run}-machine")
            stack.push_async_callback(_shielded, opened.machine)
        labels = await stack.enter_async_context(bound(api, host, run)) if api and host else {}
        for place in plan.places:
            tell(f"opening {place.name}")
            venue: Venue
            if place.kind is PlaceKind.VM:
                assert api is not None
                name = f"{run}-{place.profile or 'plain'}"
                stamp = opened.tree.stamp if opened.tree else ""
                venue = await open_vm(api, Wish(place=place, name=name, vcpus=plan.cpus, memory_mib=plan.memory_mib, host_labels=labels, stamp=stamp))
                stack.push_async_callback(_shielded, venue)
            elif place.kind is PlaceKind.CONTAINER:
                assert opened.tree is not None
                venue = await open_container(opened.tree, scratch / f"{run}-container", run, plan.cpus, plan.memory_mib)
                stack.push_async_callback(_shielded, venue)
            else:
                assert opened.machine is not None
                venue = opened.machine
            opened.venues.append(venue)
        yield opened


async def _shielded(venue: Venue) -> None:
    """Closed also when we are being cancelled; one that cannot be closed does not keep others open."""
    with suppress(HouyiError):
        await asyncio.shield(venue.close())


async def _rounds(opened: Opened, plan: Plan, tell: Tell) -> tuple[Sample, ...]:
    order = random.Random(plan.seed)  # noqa: S311 - nothing secret
    samples: list[Sample] = []
    for number in range(1, plan.rounds + 1):
        works: list[Benchmark | None] = [*plan.benchmarks, *((None,) if plan.boot else ())]
        order.shuffle(works)
        for work in works:
            venues = list(opened.venues)
            order.shuffle(venues)
            for venue in venues:
                one = await (_measure(opened, plan, venue, work, number) if work else _boot(venue, number))
                if one is not None:
                    samples.append(one)
                    tell(f"round {number}/{plan.rounds}: {one.benchmark} in {one.place}: {_told(one)}")
    return tuple(samples)


def _told(one: Sample) -> str:
    return f"{one.measured.value:.5g}" if one.measured else f"FAILED: {' '.join(one.error.split())[:200]}"


async def _measure(opened: Opened, plan: Plan, venue: Venue, benchmark: Benchmark, number: int) -> Sample:
    begun = time.monotonic()
    made = Sample(benchmark=benchmark.name, place=venue.place.name, round=number, seconds=0.0)
    try:
        said = await _ran(opened, plan, venue, benchmark, plan.seconds)
        made = replace(made, measured=_read(benchmark, said))
    except HouyiError as error:
        made = replace(made, error=error.detail)
    except ValueError as error:
        made = replace(made, error=f"{benchmark.argv[0]}: {error}")
    return replace(made, seconds=round(time.monotonic() - begun, 3))


def _read(benchmark: Benchmark, said: Said) -> Measured:
    """:raise ValueError: it failed, or said no figure."""
    if said.code != 0:
        raise ValueError(f"exit status {said.code}: {said.complaint[-400:]}")
    return benchmark.parse(said.text)


async def _ran(opened: Opened, plan: Plan, venue: Venue, benchmark: Benchmark, seconds: int) -> Said:
    words = {"seconds": str(seconds), "cpus": str(plan.cpus), "scratch": venue.scratch}
    limit = seconds + START_SECONDS
    if not benchmark.server:
        return await venue.run(benchmark.command(words), limit)
    if opened.machine is None:
        raise Failed("bench_no_network", "the other end of the network would be this machine, which is not the VMs' host: run the command there")
    peer = await venue.peer()
    port = free_port(peer)
    async with served(opened.machine, benchmark, peer, port, limit):
        return await venue.run(benchmark.command({**words, "peer": peer, "port": str(port)}), limit)


async def _boot(venue: Venue, number: int) -> Sample | None:
    begun = time.monotonic()
    made = Sample(benchmark=BOOT, place=venue.place.name, round=number, seconds=0.0)
    try:
        took = await venue.boot()
        if took is None:
            return None
        made = replace(made, measured=Measured(value=took))
    except HouyiError as error:
        made = replace(made, error=error.detail)
    return replace(made, seconds=round(time.monotonic() - begun, 3))


async def _exits(opened: Opened, plan: Plan, tell: Tell) -> tuple[tuple[ExitCount, ...], str]:
    """One more run of each benchmark in each VM under KVM, with its exits traced; and why there are none."""
    if not opened.vms:
        return (), "no VM was among the places"
    traced = [venue for venue in opened.vms if not venue.emulated]
    if not traced:
        return (), "the VMs were emulated (TCG): there is no hypervisor that they could exit to, and so there are no VM exits"
    found = []
    for venue in traced:
        for benchmark in plan.benchmarks:
            one = await _exits_of(opened, plan, venue, benchmark)
            tell(f"exits of {benchmark.name} in {venue.place.name}: {one.error or f'{one.per_operation:.4g} an operation'}")
            found.append(one)
    return tuple(found), ""


async def _exits_of(opened: Opened, plan: Plan, venue: VmVenue, benchmark: Benchmark) -> ExitCount:
    made = ExitCount(benchmark=benchmark.name, place=venue.place.name)
    work = asyncio.create_task(_ran(opened, plan, venue, benchmark, EXIT_SECONDS + 2 * int(_LEAD_SECONDS)))
    try:
        await asyncio.sleep(_LEAD_SECONDS)
        exits_s, reasons = await venue.exits(EXIT_SECONDS)
        measured = _read(benchmark, await work)
    except HouyiError as error:
        return replace(made, error=error.detail)
    except ValueError as error:
        return replace(made, error=f"{benchmark.argv[0]}: {error}")
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    if not measured.work_s:
        return replace(made, exits_s=exits_s, error=f"{exits_s:.0f} exits a second; {benchmark.argv[0]} does not say how many operations it does")
    return replace(made, exits_s=exits_s, per_operation=exits_s / measured.work_s, reasons={name: count / measured.work_s for name, count in reasons.items()})


def _emulated(opened: Opened) -> str:
    if any(vm.emulated for vm in opened.vms):
        return "the VMs ran under emulation (TCG), since this machine has no usable KVM: their times are those of an emulator"
    accelerator = opened.host.facts.accelerator if opened.host and opened.host.facts else None
    if opened.vms and accelerator is not None and accelerator.verdict != "native":
        return f"KVM of {opened.host.name if opened.host else ''} is not on real hardware ({accelerator.verdict}): VM exits are real, their cost is not"
    return ""


def _place_facts(venue: Venue, plan: Plan) -> PlaceFacts:
    place = venue.place
    made = PlaceFacts(name=place.name, kind=place.kind, profile=place.profile, cpus=plan.cpus, memory_mib=plan.memory_mib, what="")
    if isinstance(venue, VmVenue):
        what = (
            f"a VM as the platform makes it{f', with the profile {place.profile}' if place.profile else ', not tuned'}; programs run through its serial console"
        )
        return replace(made, what=what, accelerator=venue.vm.accelerator, tuned=dict(venue.vm.tuned))
    if place.kind is PlaceKind.CONTAINER:
        return replace(made, what="a container: own namespaces (mount, process, network, IPC, names, control groups) and control groups with these limits")
    facts = machine_facts()
    memory_mib = int(facts["memory"].split()[0])
    return replace(made, cpus=int(facts["CPUs"]), memory_mib=memory_mib, what="the machine itself; programs see all of its CPUs and memory")


def _benchmark_facts(plan: Plan) -> tuple[BenchmarkFacts, ...]:
    words = {"seconds": str(plan.seconds), "cpus": str(plan.cpus), "scratch": "{scratch}", "peer": "{peer}", "port": "{port}"}
    facts = [
        BenchmarkFacts(name=one.name, group=one.group, unit=one.unit, better=one.better, work=one.work, shows=one.shows, command=" ".join(one.command(words)))
        for one in plan.benchmarks
    ]
    if plan.boot:
        boot = BenchmarkFacts(name=BOOT, group="start", unit=BOOT_UNIT, better=Better.LESS, work="start", shows=BOOT_SHOWS, command="-")
        facts.append(boot)
    return tuple(facts)


def check(plan: Plan) -> None:
    """:raise Invalid: `bench_nothing`, `bench_size`."""
    if not plan.benchmarks and not plan.boot:
        raise Invalid("bench_nothing", "nothing is left to measure: name benchmarks of `houyi bench list`")
    if min(plan.seconds, plan.rounds, plan.cpus) < 1:
        raise Invalid("bench_size", "seconds, rounds and CPUs are at least 1")
