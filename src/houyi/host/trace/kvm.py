"""Exits by reason: three tables in the kernel, which are there only while somebody asks, and which all who ask share.

    kvm_exit     how often each thread left its guest, by reason
    kvm_entry    how long it was outside: matched with the exit before it, and added up by a synthetic event
    kvm_msr      which registers the guest used

Everybody reads the tables when he begins and when he ends; what lies between is his. The first makes them, the last removes them; what an agent that was
killed has left is removed by the next one when it starts (`clear`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.trace.threads import PROC, Threads, threads_of
from houyi.host.trace.tracefs import MOUNTS, Instance, find_tracefs
from houyi.model.errors import Conflict, Failed, Unavailable
from houyi.model.exits import TRACE_SECONDS_MAX, ExitProfile, Virtualization
from houyi.model.ids import VmId
from houyi.planning.exits import ExitReading, Histogram, parse_histograms, profile

log = get_log(__name__)

EXIT, ENTRY, MSR = "kvm/kvm_exit", "kvm/kvm_entry", "kvm/kvm_msr"
OUTSIDE = "houyi_outside"
SIZE = 4096
"""Places in a table: a hundred VMs of four vCPUs with ten reasons each."""
THREADS = 2048
DEFINITION = f"{OUTSIDE} u32 reason; pid_t thread; u64 outside"
TRIGGERS = (
    (EXIT, f"hist:keys=common_pid,exit_reason:size={SIZE}"),
    (EXIT, f"hist:keys=common_pid:left=common_timestamp,why=exit_reason:size={THREADS}"),
    (
        ENTRY,
        "hist:keys=common_pid:thread=common_pid,outside=common_timestamp-$left,reason=$why"
        f":onmatch(kvm.kvm_exit).{OUTSIDE}($reason,$thread,$outside):size={THREADS}",
    ),
    (f"synthetic/{OUTSIDE}", f"hist:keys=thread,reason:vals=outside:size={SIZE}"),
    (MSR, f"hist:keys=common_pid,ecx,write:size={SIZE}"),
)
REMOVED = (ENTRY, f"synthetic/{OUTSIDE}", MSR, EXIT)
"""In this order: what uses another's variables goes first."""
SYS = Path("/sys")


class KvmTracing:
    def __init__(
        self,
        clock: Clock,
        *,
        mounts: tuple[Path, ...] = MOUNTS,
        proc: Path = PROC,
        sys: Path = SYS,
        mount: Callable[[], Awaitable[None]] | None = None,
        instance: Callable[[Path], Instance] = Instance,
    ) -> None:
        """:param mount: mounts tracefs, where nobody has. :param instance: from where tracefs is to the instance in it."""
        self._clock, self._mounts, self._proc, self._sys, self._mount, self._instance = clock, mounts, proc, sys, mount, instance
        self._asking = 0
        self._turn = asyncio.Lock()

    async def clear(self) -> None:
        """:raise Failed: `tracing_refused`."""
        async with self._turn:
            tracefs = find_tracefs(self._mounts)
            if tracefs is not None and not self._asking:
                await asyncio.to_thread(self._instance(tracefs).remove, REMOVED, OUTSIDE)

    async def profile(self, vm_id: VmId, seconds: float) -> ExitProfile:
        if not 0 < seconds <= TRACE_SECONDS_MAX:
            raise Conflict("trace_too_long", f"exits are traced for at most {TRACE_SECONDS_MAX:g} s: ask for less")
        threads = await asyncio.to_thread(self._threads, vm_id)
        virtualization = self._virtualization()
        instance = await self._begin()
        try:
            began_at, began, before = self._clock.now(), self._clock.monotonic(), await asyncio.to_thread(read, instance)
            await self._clock.sleep(seconds)
            after, ended = await asyncio.to_thread(read, instance), self._clock.monotonic()
        finally:
            await asyncio.shield(self._end(instance))
        now = await asyncio.to_thread(threads_of, vm_id, self._proc)
        all_threads = threads.vcpus | (now.vcpus if now is not None else frozenset())
        return profile(vm_id, before, after, all_threads, virtualization, began_at, ended - began)

    def _threads(self, vm_id: VmId) -> Threads:
        found = threads_of(vm_id, self._proc)
        if found is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        if not found.kvm:
            raise Conflict("no_vm_exits", "the VM runs under TCG: there are no VM exits")
        return found

    def _virtualization(self) -> Virtualization:
        for name, kind in (("kvm_amd", Virtualization.SVM), ("kvm_intel", Virtualization.VMX)):
            if (self._sys / "module" / name).is_dir():
                return kind
        raise Failed("tracing_refused", "this host's KVM is neither AMD's nor Intel's: its exits have no reasons that are known here")

    async def _begin(self) -> Instance:
        async with self._turn:
            tracefs = find_tracefs(self._mounts)
            if tracefs is None and self._mount is not None:
                await self._mount()
                tracefs = find_tracefs(self._mounts)
            if tracefs is None:
                raise Unavailable("tracefs_missing", "tracefs is not mounted on the VM's host: `mount -t tracefs tracefs /sys/kernel/tracing`")
            instance = self._instance(tracefs)
            if not self._asking:
                await asyncio.to_thread(_install, instance)
            self._asking += 1
            return instance

    async def _end(self, instance: Instance) -> None:
        async with self._turn:
            self._asking -= 1
            if not self._asking:
                try:
                    await asyncio.to_thread(instance.remove, REMOVED, OUTSIDE)
                except Failed as error:
                    log.error("tracing_left", detail=error.detail)


def _install(instance: Instance) -> None:
    """All or nothing. :raise Failed: `tracing_refused`."""
    if not instance.has_event(EXIT):
        raise Failed("tracing_refused", "the kernel of the VM's host has no tracepoint kvm:kvm_exit: is its KVM module loaded?")
    instance.remove(REMOVED, OUTSIDE)
    try:
        instance.make()
        instance.define_event(DEFINITION)
        for event, trigger in TRIGGERS:
            instance.add_trigger(event, trigger)
    except BaseException:
        instance.remove(REMOVED, OUTSIDE)
        raise


def read(instance: Instance) -> ExitReading:
    """The tables as they are. :raise Failed: `tracing_refused`."""
    exits = _table(instance, EXIT, ("common_pid", "exit_reason"))
    outside = _table(instance, f"synthetic/{OUTSIDE}", ("thread", "reason"))
    msrs = _table(instance, MSR, ("common_pid", "ecx", "write"))
    return ExitReading(exits=exits.hits, outside_ns=outside.sums.get("outside", {}), msrs=msrs.hits, dropped=exits.dropped)


def _table(instance: Instance, event: str, keys: tuple[str, ...]) -> Histogram:
    for one in parse_histograms(instance.table(event)):
        if one.keys == keys:
            return one
    return Histogram(keys, {}, {}, 0)
