"""libvirt's callbacks as MachineEvents. They wake the loop; they never act.

Callbacks run in libvirt's thread and do nothing there but hand over. Domains are recognised by name; whether such a domain is really ours
is decided when it is looked at.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import libvirt

from houyi.host.libvirt.domains import PREFIX, Memory
from houyi.host.libvirt.jobs import Endings, figures_of
from houyi.host.port import MachineEvent
from houyi.model.ids import VmId
from houyi.model.vm import GuestAgent

_STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "guest_shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "qemu_died",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "qemu_died",
}
_WATCHDOG_ACTION = dict(enumerate(("nothing was done", "paused", "reset", "powered off", "shut down", "debugged", "interrupted")))
"""libvirt's numbers of what the watchdog did."""
_WHOSE_MEMORY = {libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_HYPERVISOR: "QEMU", libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST: "the guest"}
_MEMORY_ACTION = {
    libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE: "nobody was told, since it can be corrected later",
    libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT: "the guest was told",
    libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL: "QEMU cannot go on",
    libvirt.VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_RESET: "the guest cannot be told, and was reset",
}
_IO_ERROR_ACTION = {libvirt.VIR_DOMAIN_EVENT_IO_ERROR_NONE: "ignored", libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE: "paused"}


class Events:
    """A queue from libvirt's thread to one consumer in the event loop, keeping Memory right on the way."""

    def __init__(self, memory: Memory, loop: asyncio.AbstractEventLoop) -> None:
        self._memory, self._loop = memory, loop
        self.endings = Endings()
        self._queue: asyncio.Queue[MachineEvent] = asyncio.Queue()

    def register(self, connection: Any) -> None:
        """Ask a fresh connection for everything we listen to. Blocking."""
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._on_io_error),
            (libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, self._on_watchdog),
            (libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE, self._on_memory_failure),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._on_agent),
            (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._on_job),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)

    def connection_changed(self, connected: bool, detail: str) -> None:
        if connected:
            self._memory.clear()
        self._queue.put_nowait(MachineEvent(vm_id=None, kind="connection_back" if connected else "connection_lost", detail=detail))

    async def stream(self) -> AsyncIterator[MachineEvent]:
        while True:
            yield await self._queue.get()

    def _hand_over(self, domain: Any, act: Callable[[VmId], None]) -> None:
        """From libvirt's thread into the loop. The name and UUID are in the event; no call is made."""
        if not domain.name().startswith(PREFIX):
            return
        vm_id = VmId(domain.UUIDString())
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(act, vm_id)

    def _tell(self, vm_id: VmId, kind: str, detail: str = "") -> None:
        self._queue.put_nowait(MachineEvent(vm_id=vm_id, kind=kind, detail=detail))

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self._hand_over(domain, lambda vm_id: self._lifecycle(vm_id, event, detail))

    def _lifecycle(self, vm_id: VmId, event: int, detail: int) -> None:
        kind = ""
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            kind = "" if self._memory.asked(vm_id, "end") else _STOPPED.get(detail, "")
        elif event == libvirt.VIR_DOMAIN_EVENT_CRASHED and detail == libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED:
            kind = "guest_panic"
        if event in {libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED}:
            self._tell(vm_id, kind)
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._memory.started(vm_id)
        self._memory.forget(vm_id)
        self._tell(vm_id, kind)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: Any) -> None:
        self._hand_over(domain, self._reboot)

    def _reboot(self, vm_id: VmId) -> None:
        asked = self._memory.asked(vm_id, "reboot")
        if asked:
            self._memory.answered(vm_id)
        self._memory.forget(vm_id)
        self._tell(vm_id, "" if asked else "guest_reboot")

    def _on_io_error(self, _connection: Any, domain: Any, path: str, alias: str, action: int, reason: str, _opaque: Any) -> None:
        words = f"{alias or path}: {reason or 'I/O error'}, guest {_IO_ERROR_ACTION.get(action, 'told')}"
        self._hand_over(domain, lambda vm_id: self._tell(vm_id, "io_error", words))

    def _on_watchdog(self, _connection: Any, domain: Any, action: int, _opaque: Any) -> None:
        self._hand_over(domain, lambda vm_id: self._tell(vm_id, "watchdog", f"guest {_WATCHDOG_ACTION.get(action, 'told')}"))

    def _on_memory_failure(self, _connection: Any, domain: Any, whose: int, action: int, flags: int, _opaque: Any) -> None:
        words = f"memory of {_WHOSE_MEMORY.get(whose, 'the VM')} failed: {_MEMORY_ACTION.get(action, 'the guest was told')}"
        if flags & libvirt.VIR_DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED:
            words += "; it was just being used"
        self._hand_over(domain, lambda vm_id: self._tell(vm_id, "memory_failure", words))

    def _on_job(self, _connection: Any, domain: Any, stats: dict[str, Any], _opaque: Any) -> None:
        if stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            self._hand_over(domain, lambda vm_id: self.endings.told(vm_id, figures_of(stats)))

    def _on_agent(self, _connection: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        connected = state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._hand_over(domain, lambda vm_id: self._agent(vm_id, GuestAgent.CONNECTED if connected else GuestAgent.DISCONNECTED))

    def _agent(self, vm_id: VmId, state: GuestAgent) -> None:
        self._memory.set_agent(vm_id, state)
        self._tell(vm_id, "")
