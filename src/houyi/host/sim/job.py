"""One attempt to move a guest, as two libvirts and two QEMUs live through it. It belongs to the machines: it outlives the agents that asked for it.

What is modelled is what decides where a guest runs: libvirt resumes the source's copy when *finish* gets no answer, unless it was told that the guest has
arrived; libvirtd that comes back cancels what was not sent yet, leaves halted what was, and ends what it was giving up; the destination's libvirtd destroys
what came when the connection is lost before *finish*. Memory is sent in rounds, so that a guest that writes faster than the line carries never converges.
"""

import asyncio
from dataclasses import replace

from houyi.host.port import MachineEvent
from houyi.host.sim.net import LATENCY_SECONDS, Link, Phase, SimConnection, SimNet
from houyi.host.sim.state import ON, SimDomain, SimState, forget_domain
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.model.migration import Figures, Knobs, Landing, Presence, Terms
from houyi.model.vm import DesiredVm, StateReason, VmState

TICK_SECONDS = 0.1
CONFIRM_SECONDS = 0.25
"""Mirrors are cancelled and QEMU ends before the source's libvirt has given its copy up."""
DISK_MIB = 64.0
"""Of each local disk, to copy."""
_ABORTABLE = frozenset({Phase.BEGIN, Phase.PREPARE, Phase.EARLY, Phase.LATE})


class SimJob:
    """`run()` to its end; `ended` tells how, as `Mover.send` does."""

    def __init__(self, net: SimNet, source: SimState, connection: SimConnection, vm: DesiredVm, landing: Landing, terms: Terms) -> None:
        self.net, self.source, self.connection = net, source, connection
        self.vm, self.landing, self.terms = vm, landing, terms
        self.destination: SimState = net.machines[landing.address]
        self.phase = Phase.BEGIN
        self.ended: asyncio.Future[Figures] = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(lambda ended: ended.exception())
        self.figures = Figures(memory_total_mib=vm.spec.memory_mib, memory_remaining_mib=vm.spec.memory_mib)
        self.knobs = Knobs(bandwidth_mib_s=terms.bandwidth_mib_s_max, downtime_ms=300.0, throttle_percent=0)
        self._here: SimDomain = source.domains[vm.id]
        self._was = self._here.state
        self._there: SimDomain | None = None
        self._aborted = self._failed = False
        self._boots = source.boots
        self._since = source.clock.monotonic()

    def turn(self, knobs: Knobs) -> None:
        told = {name: value for name in ("bandwidth_mib_s", "downtime_ms", "throttle_percent") if (value := getattr(knobs, name)) is not None}
        self.knobs = replace(self.knobs, **told, postcopy=self.knobs.postcopy or knobs.postcopy)

    def abort(self) -> None:
        self._aborted = self._aborted or self.phase in _ABORTABLE

    async def run(self, *, recovers: bool) -> None:
        try:
            if recovers:
                self._meet_again()
            else:
                await self._begin()
                await self._perform()
            if self._there is not None and self._there.move is Presence.POSTCOPY:
                await self._fetch()
            await self._finish()
            await self._confirm()
            self.ended.set_result(self.figures)
        except HouyiError as error:
            self._failed = True
            self.ended.set_exception(error)
            await self._after_failure()

    async def _begin(self) -> None:
        self._here.move = Presence.SENDING
        await self._enter(Phase.BEGIN)
        await self._message()
        await self._enter(Phase.PREPARE)
        there, vm_id = self.destination, self.vm.id
        if not there.connected:
            raise Failed("migration_failed", "the destination's libvirt does not answer")
        if there.memory_full:
            raise Failed("migration_failed", "cannot set up guest memory: Cannot allocate memory")
        if vm_id in there.domains or vm_id not in there.disks:
            raise Failed("migration_failed", "the destination has a domain of that name, or no disk for it")
        if there.facts.cpu_features and (lacking := sorted(set(self._here.cpu_features) - set(there.facts.cpu_features))):
            raise Failed("migration_failed", f"operation failed: guest CPU doesn't match specification: missing features: {','.join(lacking)}")
        self._there = SimDomain(
            self.vm,
            cpu_features=self._here.cpu_features,
            tuned=dict(self._here.tuned),
            state=VmState.PAUSED,
            reason=StateReason.REQUESTED,
            move=Presence.INCOMING,
            transient=True,
        )
        self._there.dirty_mib_s, self._there.write_set_mib = self._here.dirty_mib_s, self._here.write_set_mib
        self._there.started_at, self._there.booted_at = self._here.started_at, self._here.booted_at
        there.domains[vm_id] = self._there
        there.work(self._mind_the_arriving(self._there))
        await self._message()

    async def _mind_the_arriving(self, arriving: SimDomain) -> None:
        """The destination's libvirt: without a connection, or after its own restart, what has not been finished is destroyed."""
        while arriving.transient and self.destination.domains.get(self.vm.id) is arriving:
            told = self._failed and self.net.link(self.source.address, self.destination.address) is Link.UP
            if self.connection.lost_at_destination.is_set() or told or not self.destination.connected:
                await _back(self.destination)
                if arriving.transient:
                    forget_domain(self.destination, self.vm.id, arriving)
                return
            await self.destination.clock.sleep(TICK_SECONDS / 4)

    async def _perform(self) -> None:
        await self._enter(Phase.EARLY)
        await self._copy_disk()
        dirtied, seen = 0.0, self.figures
        while True:
            seen, rate = self.figures, self._bandwidth()
            pending = seen.memory_remaining_mib + dirtied
            if seen.rounds and rate and pending / rate * 1000 <= (self.knobs.downtime_ms or 0.0):
                return await self._stop(rate, pending)
            if self.knobs.postcopy and self.terms.postcopy and seen.rounds:
                return self._switch(pending)
            seconds = min(TICK_SECONDS, max(0.001, seen.memory_remaining_mib / rate)) if rate else TICK_SECONDS
            await self._pass(seconds)
            sent, writes = rate * seconds, self._writes()
            dirtied = min(self._here.write_set_mib, dirtied + writes * seconds)
            left = seen.memory_remaining_mib - sent
            rounds = seen.rounds
            if left <= 1e-6:
                left, dirtied, rounds = dirtied, 0.0, rounds + 1
            self._tell(
                memory_remaining_mib=left, memory_sent_mib=seen.memory_sent_mib + sent, rounds=rounds, dirty_mib_s=writes, bandwidth_mib_s=rate, smaller=1.0
            )

    async def _copy_disk(self) -> None:
        if not self.landing.copies_disk:
            return
        left = DISK_MIB
        while left > 0:
            await self._pass(TICK_SECONDS)
            left -= self._bandwidth() * TICK_SECONDS
            if self.destination.disk_full:
                raise Failed("migration_failed", "mirroring of the disk failed: No space left on device")
            self._tell(disk_total_mib=DISK_MIB, disk_remaining_mib=max(0.0, left), disk_sent_mib=DISK_MIB - max(0.0, left))

    async def _stop(self, rate: float, pending: float) -> None:
        if self._was is VmState.RUNNING:  # one that its user has paused looks as it did
            self._here.state, self._here.move = VmState.PAUSED, Presence.HALTED
        await self._enter(Phase.LATE)
        downtime = max(pending / rate, LATENCY_SECONDS)
        await self._pass(downtime)
        sent = self.figures.memory_sent_mib + pending
        self._tell(memory_remaining_mib=0.0, memory_sent_mib=sent, downtime_ms=downtime * 1000)
        self._copied()

    def _switch(self, pending: float) -> None:
        there = self._need_there()
        there.missing_mib, there.transient = pending, False
        self._here.state, self._here.move = VmState.PAUSED, Presence.POSTCOPY
        there.state, there.move = self._was, Presence.POSTCOPY
        self._copied()
        self._changed()

    def _copied(self) -> None:
        """The guest is stopped, and its disk over there is the same as here."""
        if self.vm.id in self.source.written and self.vm.id not in self.destination.on:
            self.destination.written[self.vm.id] = self.source.written[self.vm.id]

    def _meet_again(self) -> None:
        there = self.destination.domains.get(self.vm.id)
        if self._here.move is not Presence.POSTCOPY_BROKEN or there is None or there.move is not Presence.POSTCOPY_BROKEN:
            raise Failed("migration_failed", "there are not two halves of the guest that wait for each other")
        self._there = there
        self._here.move = there.move = Presence.POSTCOPY
        self._was = there.state
        self._changed()

    async def _fetch(self) -> None:
        """Post-copy: the guest runs at the destination, its memory follows."""
        there = self._need_there()
        await self._enter(Phase.POSTCOPY)
        self._tell(postcopy=True)
        while there.missing_mib > 0:
            await self._pass(TICK_SECONDS)
            there.missing_mib = max(0.0, there.missing_mib - self._bandwidth() * TICK_SECONDS)
            self._tell(memory_remaining_mib=there.missing_mib)

    async def _finish(self) -> None:
        there, switched = self._need_there(), self.figures.postcopy
        await self._enter(Phase.FINISH)
        await self._message()
        if not self.destination.connected or self.destination.domains.get(self.vm.id) is not there or there.state not in ON:
            raise Failed("migration_failed", "the guest is not at the destination any more")
        there.transient = False
        if self.terms.postcopy and not switched:
            there.state = self._was  # without the first key it runs by itself
        if self.terms.postcopy:
            there.move = None
        self._changed()
        await self._enter(Phase.FINISHED)
        await self._message()
        self.connection.road.arrived()
        await self._enter(Phase.TOLD)
        await self.source.clock.sleep(LATENCY_SECONDS)
        self._look_at_source()

    async def _confirm(self) -> None:
        await self._enter(Phase.CONFIRM)
        for _ in range(5):
            await self.source.clock.sleep(CONFIRM_SECONDS / 5)
            self._look_at_source()
        forget_domain(self.source, self.vm.id, self._here)

    async def _enter(self, phase: Phase) -> None:
        self.phase = phase
        if self.net.watch is not None:
            self.net.watch(phase, self.vm.id)
        await asyncio.sleep(0)

    async def _message(self) -> None:
        """One message, and whatever happens to its ends meanwhile; without an end to the silence it never arrives."""
        await self._pass(LATENCY_SECONDS)
        while self._link() is not Link.UP:
            await self._pass(TICK_SECONDS)

    async def _pass(self, seconds: float) -> None:
        """Time passes. :raise Failed: the attempt cannot go on. :raise Unavailable: its libvirtd has died."""
        await self.source.clock.sleep(seconds)
        self._tell(elapsed_seconds=self.source.clock.monotonic() - self._since)
        self._look_at_source()
        if self._aborted:
            raise Failed("migration_cancelled", "the move was cancelled")
        if self.connection.lost_at_source.is_set():
            raise Failed("migration_failed", "the connection to the destination's libvirt was lost")
        there = self._there
        if there is not None and (self.destination.domains.get(self.vm.id) is not there or there.state not in ON):
            raise Failed("migration_failed", "the destination's QEMU has ended")
        if not self.destination.connected and self.phase is not Phase.FINISHED:
            raise Failed("migration_failed", "the destination's libvirt is gone")

    def _look_at_source(self) -> None:
        if not self.source.connected or self._rebooted():
            raise Unavailable("libvirt_away", "libvirtd has died during the move")
        if self.source.domains.get(self.vm.id) is not self._here or self._here.state not in ON:
            raise Failed("migration_failed", "the source's QEMU has ended")

    async def _after_failure(self) -> None:
        """What libvirt makes of the copies."""
        if self._rebooted():
            return  # the power went: its memory is gone with it
        if not self.source.connected:
            self.connection.lose()
            await _back(self.source)
            if not self._rebooted():
                self._recovered()
            return
        if self.terms.postcopy and not self.figures.postcopy and self.phase in (Phase.FINISH, Phase.FINISHED):
            await self._held()
        self._return()

    def _recovered(self) -> None:
        """libvirtd has come back and finds a job that was under way."""
        if self.phase is Phase.CONFIRM and self._is_here():
            self.source.external_destroy(self.vm.id)
        elif self.phase not in (Phase.FINISH, Phase.FINISHED, Phase.TOLD) or self._here.move is Presence.POSTCOPY:
            self._return()
        elif self._here.move is Presence.SENDING:
            self._here.move = None

    async def _held(self) -> None:
        """Our libvirt has asked the destination to run the guest; the agent lets it wait as long as its way is there."""
        self.connection.road.holds = True
        while self.connection.road.holds and self._is_here() and self._here.move is Presence.HALTED:
            await self.source.clock.sleep(TICK_SECONDS)

    def _return(self) -> None:
        """The source's copy goes on where it was; halves of a post-copy wait for each other."""
        there = self._there
        if there is not None and there.move is Presence.POSTCOPY and self.destination.domains.get(self.vm.id) is there:
            there.move = Presence.POSTCOPY_BROKEN
        if not self._is_here():
            pass
        elif self._here.move is Presence.POSTCOPY:
            self._here.move = Presence.POSTCOPY_BROKEN
        elif self._here.move in (Presence.SENDING, Presence.HALTED):
            self._here.state, self._here.move = self._was, None
        self._changed()

    def _rebooted(self) -> bool:
        return self.source.boots != self._boots

    def _is_here(self) -> bool:
        return self.source.domains.get(self.vm.id) is self._here and self._here.state in ON

    def _need_there(self) -> SimDomain:
        if self._there is None:
            raise Failed("migration_failed", "nothing has been prepared at the destination")
        return self._there

    def _link(self) -> Link:
        return self.net.link(self.source.address, self.destination.address)

    def _bandwidth(self) -> float:
        cap = self.knobs.bandwidth_mib_s or self.net.bandwidth_mib_s
        return min(cap, self.net.bandwidth_mib_s) if self._link() is Link.UP else 0.0

    def _writes(self) -> float:
        return self._here.dirty_mib_s * (1 - (self.knobs.throttle_percent or 0) / 100) if self._here.executes else 0.0

    def _tell(self, **figures: float | bool) -> None:
        self.figures = replace(self.figures, throttle_percent=self.knobs.throttle_percent or 0, **figures)  # type: ignore[arg-type]

    def _changed(self) -> None:
        for machine in (self.source, self.destination):
            machine.emit(MachineEvent(vm_id=self.vm.id, kind=""))


async def _back(machine: SimState) -> None:
    """Until its libvirtd is there again."""
    while not machine.connected:
        await machine.clock.sleep(TICK_SECONDS)
