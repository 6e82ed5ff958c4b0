"""Moves of the guest under each policy. Ours is the agent's own attempt; the others' are libvirt's peer-to-peer moves, looked at as their policy says."""

import asyncio
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt

from houyi.agent.attempt import Attempt
from houyi.agent.door import Admission
from houyi.agent.lines import Lines
from houyi.agent.sampling import SPANS
from houyi.base.clock import SystemClock
from houyi.host.domxml.landing import landed_xml
from houyi.host.libvirt.jobs import figures_of
from houyi.model.errors import Forbidden
from houyi.model.ids import MigrationId, OperationId, VmId
from houyi.model.migration import (
    DesiredMove,
    End,
    Figures,
    Forecast,
    GuestSample,
    Landing,
    Migration,
    MigrationCourse,
    MigrationKind,
    MigrationSpec,
    MigrationState,
    ObservedMove,
    Order,
    Outcome,
    Presence,
    Terms,
)
from houyi.model.vm import DesiredVm, Vm
from houyi.planning.migration.experience import Experience, foretell
from houyi.planning.migration.forecast import chosen
from houyi.planning.migration.steer import may_throttle
from migration.hosts import Pair
from migration.policies import Act, Plain, Policy, Seen


@dataclass(frozen=True, slots=True)
class Moved:
    """How one move went, as libvirt tells it."""

    seconds: float
    """From the call until libvirt has ended it, and the guest was told to run."""
    figures: Figures
    failed: str = ""
    forecast: Forecast | None = None
    gap_ms: float = 0.0
    """Ours: as the agent reports it."""
    said: str = ""


@dataclass
class Theirs:
    """Another platform's policy over plain libvirt."""

    policy: Policy
    cap_mib_s: int
    limit_seconds: float

    async def move(self, pair: Pair) -> Moved:
        moved, landing = await pair.landing()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as threads:
            looks = await loop.run_in_executor(threads, libvirt.open, pair.source.private.uri)
            domain = looks.lookupByUUIDString(moved.id)
            began = time.monotonic()
            job = loop.run_in_executor(threads, self._begin, pair, moved, landing)
            worst = await self._steer(job, domain, began, threads)
            failed = await job
            seconds = time.monotonic() - began
            arrived = await pair.look(moved)
            figures = worst
            if arrived:
                ended = await loop.run_in_executor(threads, _completed, pair.source.private.uri, moved.id)
                figures = replace(ended, throttle_percent=worst.throttle_percent) if ended.elapsed_seconds else worst
            looks.close()
        return Moved(seconds, figures, "" if arrived else failed or "it stayed")

    async def _steer(self, job: "asyncio.Future[str]", domain: Any, began: float, threads: ThreadPoolExecutor) -> Figures:
        """Until the job has ended; the last figures, with the strongest throttling."""
        last, loop, given_up, started = Figures(), asyncio.get_running_loop(), False, False
        while not job.done():
            await asyncio.wait({job}, timeout=self.policy.look_seconds if started else 0.02)
            if job.done():
                break
            try:
                seen = await loop.run_in_executor(threads, _look, domain)
            except libvirt.libvirtError:
                continue
            if seen is None:
                continue
            if not started and not isinstance(self.policy, Plain):
                await loop.run_in_executor(threads, _turn, domain, Act(downtime_ms=self.policy.first_downtime_ms))
            started = True
            last = replace(seen, throttle_percent=max(last.throttle_percent, seen.throttle_percent))
            seconds = time.monotonic() - began
            act = self.policy.look(Seen(seconds, seen.memory_remaining_mib, seen.memory_sent_mib, seen.postcopy))
            if seconds > self.limit_seconds:
                act = Act(abort=f"still moving after {self.limit_seconds:.0f} s")
            if not given_up:
                await loop.run_in_executor(threads, _turn, domain, act)
            given_up = given_up or bool(act.abort)
        return last

    def _begin(self, pair: Pair, vm: DesiredVm, landing: Landing) -> str:
        """In a thread, until it has ended. :return: why it has failed."""
        source = libvirt.open(pair.source.private.uri)
        try:
            domain = source.lookupByUUIDString(vm.id)
            running = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            xml = landed_xml(running, landing.domain_xml, started_at=0.0, arriving=False)
            act = self._virsh if isinstance(self.policy, Plain) else self._call
            return act(pair, domain, landing, xml)
        finally:
            source.close()

    def _call(self, pair: Pair, domain: Any, landing: Landing, xml: str) -> str:
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        flags |= libvirt.VIR_MIGRATE_UNSAFE | libvirt.VIR_MIGRATE_TLS
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE if self.policy.auto_converge else 0
        flags |= libvirt.VIR_MIGRATE_POSTCOPY if self.policy.postcopy else 0
        flags |= libvirt.VIR_MIGRATE_COMPRESSED if self.policy.xbzrle else 0
        parameters = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{landing.address}",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml,
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: xml,
            libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION: landing.tls_name,
            libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: self.cap_mib_s,
        }
        if self.policy.xbzrle:
            parameters[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = "xbzrle"
        try:
            domain.migrateToURI3(pair.destination.private.uri, parameters, flags)
        except libvirt.libvirtError as error:
            return str(error)
        return ""

    def _virsh(self, pair: Pair, domain: Any, landing: Landing, xml: str) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write(xml)
            file.flush()
            virsh = ["virsh", "-q", "-c", pair.source.private.uri, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"]
            virsh += ["--tls", "--tls-destination", landing.tls_name, "--bandwidth", str(self.cap_mib_s), "--xml", file.name, "--persistent-xml", file.name]
            ended = subprocess.run(
                [*virsh, domain.name(), pair.destination.private.uri, "--migrateuri", f"tcp://{landing.address}"], capture_output=True, text=True, check=False
            )
        return ended.stderr.strip()


def _look(domain: Any) -> Figures | None:
    stats = domain.jobStats()
    return figures_of(stats, domain.state()) if stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT else None


def _turn(domain: Any, act: Act) -> None:
    try:
        if act.abort:
            domain.abortJob()
        if act.downtime_ms is not None:
            domain.migrateSetMaxDowntime(round(act.downtime_ms))
        if act.postcopy:
            domain.migrateStartPostCopy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def _completed(uri: str, vm_id: str) -> Figures:
    """What libvirt keeps of a move that has ended, where it has ended."""
    connection = libvirt.open(uri)
    try:
        return figures_of(connection.lookupByUUIDString(vm_id).jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
    finally:
        connection.close()


@dataclass
class Known:
    """Everything that the platform has seen: of all guests."""

    moves: list[Migration] = field(default_factory=list)
    samples: dict[VmId, tuple[GuestSample, ...]] = field(default_factory=dict)
    agents: "dict[str, tuple[_Doors, Lines]]" = field(default_factory=dict)
    """What the agent of each host keeps between two moves."""


@dataclass
class Ours:
    """The agent's attempt through the doors, after a forecast from what was measured; what came of it is remembered for the next."""

    terms: Terms
    alias: VmId
    """As whom the guest is remembered: with another load it is another VM."""
    known: "Known"

    async def sample(self, pair: Pair) -> None:
        """As the agent does now and then with a guest that rests."""
        for seconds in SPANS:
            found = await pair.source.mover.sample(pair.vm.id, seconds)
            self.known.samples[self.alias] = (*self.known.samples.get(self.alias, ()), replace(found, at=time.time()))

    async def move(self, pair: Pair) -> Moved:
        moved, landing = await pair.landing()
        source, destination = pair.source, pair.destination
        terms = replace(self.terms, throttles=may_throttle(self.terms))
        told = foretell(self._vm(pair), source.id, destination.id, terms, Experience(moves=self.known.moves, samples=self.known.samples))
        terms = chosen(terms, told)
        move_id = MigrationId(moved.id)

        async def go() -> None:
            await destination.mover.go(moved.id, run=True)

        admission = Admission(
            move=move_id, peer=source.id, libvirt=lambda: destination.passages.open(moved.id, landing, terms), files=_no_files, go=go, broke=_nothing
        )
        address, port = await destination.door.admit(admission)
        # The doors are of this process, so they are on loopback; QEMU goes over the wire.
        desired = DesiredMove(
            id=move_id, vm=moved, end=End.SOURCE, order=Order.MOVE, kind=MigrationKind.LIVE, peer=destination.id, terms=terms, landing=landing
        )
        began = time.monotonic()
        ended: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        door, lines = self.known.agents.setdefault(source.id, _agent(source.door))
        door.at = replace(landing, address=address, port=port)
        attempt = Attempt(desired, landing, source.host.ports, door, lines, SystemClock(), again=False, given_up=_nothing, ended=ended.set_result)
        await ended
        seconds = time.monotonic() - began
        await destination.door.shut(move_id)
        if (await destination.mover.presences([moved.id]))[moved.id] is Presence.INCOMING:
            await destination.host.ports.machine.undefine(moved.id)
        figures = attempt.figures or Figures()
        if not await pair.look(moved):
            return Moved(seconds, figures, attempt.problem.detail if attempt.problem is not None else "it stayed", told)
        self._remember(pair, attempt, terms, told, figures)
        return Moved(seconds, figures, "", told, attempt.gap_ms, attempt.mode.value)

    def _remember(self, pair: Pair, attempt: Attempt, terms: Terms, told: Forecast, figures: Figures) -> None:
        outcome = Outcome(
            total_seconds=figures.elapsed_seconds,
            downtime_ms=figures.downtime_ms,
            gap_ms=attempt.gap_ms,
            sent_mib=figures.memory_sent_mib + figures.disk_sent_mib,
            rounds=figures.rounds,
            mode=attempt.mode,
            throttle_percent=figures.throttle_percent,
        )
        source, destination = pair.destination, pair.source  # it has arrived
        seen = ObservedMove(
            id=MigrationId(pair.vm.id),
            end=End.SOURCE,
            presence=Presence.NONE,
            order=Order.CLEAN,
            over=True,
            figures=figures,
            mode=attempt.mode,
            gap_ms=attempt.gap_ms,
            line=self.known.agents[source.id][1].to(destination.id),
        )
        done = Migration(
            id=MigrationId(pair.vm.id),
            project_id=pair.vm.project_id,
            vm_id=self.alias,
            vm_name=pair.vm.name,
            source_id=source.id,
            destination_id=destination.id,
            epoch=pair.vm.epoch,
            operation_id=OperationId(pair.vm.id),
            spec=MigrationSpec(kind=MigrationKind.LIVE, terms=terms),
            course=MigrationCourse(state=MigrationState.DONE, outcome=outcome),
            forecast=told,
            source=seen,
            destination=None,
            source_heard=True,
            destination_heard=True,
            created_at=time.time(),
            revision=0,
        )
        self.known.moves.append(done)

    def _vm(self, pair: Pair) -> Vm:
        desired = replace(pair.vm, id=self.alias)
        return Vm(desired=desired, protected=False, host_id=pair.source.id, observed=None, host_heard=True, created_at=0.0, revision=0)


def _agent(door: Any) -> "tuple[_Doors, Lines]":
    doors = _Doors(door)
    return doors, Lines(doors, SystemClock())


async def _no_files(_line: Any) -> None:
    raise Forbidden("door_shut", "this guest moves while it runs")


def _nothing(*_: object) -> None:
    """Nobody has to remember it here."""


class _Doors:
    """The source's door, which finds the destination's on loopback whatever the landing says."""

    at: Landing

    def __init__(self, door: Any) -> None:
        self._door = door

    def way(self, move: Any, peer: Any, _landing: Landing) -> Any:
        return self._door.way(move, peer, self.at)

    async def go(self, move: Any, peer: Any, _landing: Landing) -> None:
        await self._door.go(move, peer, self.at)

    def line(self, move: Any, peer: Any, _landing: Landing, use: str = "files") -> Any:
        return self._door.line(move, peer, self.at, use)

    async def admit(self, admission: Admission) -> tuple[str, int]:
        return await self._door.admit(admission)

    async def shut(self, move: Any) -> None:
        await self._door.shut(move)
