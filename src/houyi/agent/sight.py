"""What is on this machine now, looked up once for all who ask at the same time: a hundred VMs that wake together cost two looks, not a hundred."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from houyi.host.port import DomainSeen, Ports
from houyi.model.ids import VmId


@dataclass(frozen=True, slots=True)
class Sighting:
    domains: Mapping[VmId, DomainSeen]
    files: frozenset[VmId]
    """VMs of which files are here."""


class Sight:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[Sighting] | None = None

    async def now(self) -> Sighting:
        """A look that begins after the call, shared with everybody who called before it began. :raise Unavailable: libvirt is away."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(), name="look")
            self._next.add_done_callback(_retrieve)
        return await asyncio.shield(self._next)

    async def _look(self) -> Sighting:
        async with self._one_at_a_time:
            self._next = None
            return Sighting(await self._ports.machine.observe(), await self._ports.disks.vms())


def _retrieve(task: asyncio.Task[Sighting]) -> None:
    """Nobody may be left who waits for a look that fails."""
    if not task.cancelled():
        task.exception()
