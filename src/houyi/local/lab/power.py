"""One host of a lab, from the keeper's side: switched on, kept alive, killed.

    off -> starting -> on -> off
            └ failed: off, with the problem

It is off whenever its first process is gone, whoever ended it; nobody switches it on again by himself, as with a real one.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from houyi.base.clock import SystemClock
from houyi.base.log import get_log
from houyi.host.shell import Started
from houyi.local.kvm_device import DEVICE, closed_to_qemu, open_to_qemu
from houyi.local.lab import cables
from houyi.local.lab.birth import bear, born, last_words
from houyi.local.lab.first import boot_id_file
from houyi.local.lab.furnish import furnish, orders, programs
from houyi.local.lab.layout import HostFolder, HostRecord, LabFolder, LabRecord
from houyi.local.lab.machine.life import Machine
from houyi.local.lab.words import Power
from houyi.local.processes import kill
from houyi.local.supervisor import Supervisor
from houyi.model.errors import Conflict, Failed, HouyiError

log = get_log(__name__)

Admit = Callable[[HostRecord], Awaitable[None]]
"""Leaves a join token for a host that has not joined yet, once the server answers."""


class LabHost:
    def __init__(self, lab: LabFolder, record: HostRecord, admit: Admit) -> None:
        self.record = record
        self.power: Power = "off"
        self.problem = ""
        self._lab = lab
        self._folder: HostFolder = lab.host(record.name)
        self._admit = admit
        self._life: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of its first process, 0 while it is off."""
        known = born(self._folder.path) if self.power != "off" else None
        return 0 if known is None else known.pid

    @property
    def boot_id(self) -> str:
        """Of its present boot, '' while it is off."""
        return boot_id_file(self._folder.path).read_text().strip() if self.power == "on" else ""

    async def start(self, record: LabRecord) -> None:
        """On already: nothing. :raise HouyiError: it could not be."""
        if self.power != "off":
            return
        self.power, self.problem = "starting", ""
        try:
            await asyncio.to_thread(furnish, self._lab, record, self.record)
            kvm = await asyncio.to_thread(own_kvm, self._folder.path)
            first = await bear(self._folder.path, orders(self._lab, self.record, kvm))
            known = born(self._folder.path)
            if known is None:
                raise Failed("namespace_failed", f"host {self.record.name} ended at once: {last_words(self._folder.path / 'first.log')}")
            await cables.plug(self.record, known.pid)
        except (HouyiError, OSError) as error:
            self.power, self.problem = "off", str(error)
            await self._end()
            raise
        self.power = "on"
        self._life = asyncio.create_task(self._live(first, known.pid), name=f"host-{self.record.name}")

    async def kill(self) -> None:
        """Power loss: all that runs on it is ended by the kernel at once. :raise Conflict: `host_off`."""
        if self.power == "off":
            raise Conflict("host_off", f"host {self.record.name} is off already: `houyi lab start {self.record.name}` switches it on")
        await self._end()
        if self._life is not None:
            await self._life

    async def _end(self) -> None:
        known = born(self._folder.path)
        if known is not None:
            await kill(known)

    async def _live(self, first: Started, pid: int) -> None:
        """Its programs are kept running until its first process ends."""
        keeping = asyncio.create_task(self._keep(pid), name=f"keep-{self.record.name}")
        try:
            await first.wait()
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            self.power = "off"
            log.info("host_off", host=self.record.name)
            await cables.unplug(self.record)

    async def _keep(self, pid: int) -> None:
        (self._folder.run / "houyi").mkdir(exist_ok=True)
        (self._folder.run / "lock").mkdir(exist_ok=True)
        logs, pids = self._folder.var / "log/houyi", self._folder.path / "pids"
        for path in (logs, pids):
            path.mkdir(exist_ok=True)
        await self._admit(self.record)
        if not self.record.machine:
            await Supervisor(programs(self._lab, self.record, pid), pids, logs).run()
        else:
            await self._be_machine(pid)

    async def _be_machine(self, pid: int) -> None:
        """The machine is on as long as its QEMU runs."""
        lab, token = self._lab.read(), self._folder.join_file
        assert lab is not None
        try:
            machine = Machine(lab, self.record, self._folder, pid, SystemClock())
            await machine.live(token.read_text().strip() if token.exists() else "", self.boot_id)
        except (HouyiError, OSError) as error:
            self.problem = str(error)
            log.error("machine_failed", host=self.record.name, error=str(error))
        await self._end()


def own_kvm(folder: Path) -> bool:
    """Where QEMU's user may not open the machine's /dev/kvm, a host gets a node that he may: the machine's stays as it is."""
    if not closed_to_qemu():
        return False
    node = folder / "kvm"
    found = DEVICE.stat()
    node.unlink(missing_ok=True)
    os.mknod(node, found.st_mode, found.st_rdev)
    open_to_qemu(node)
    return True
