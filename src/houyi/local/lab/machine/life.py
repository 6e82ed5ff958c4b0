"""One machine from off to ready: its disk, QEMU, what it is told, and the snapshot of a machine that has just come up.

    new:  copy of the snapshot -> restored (seconds)  -> told who it is -> serving
          copy of the system   -> booted (a minute)   -> snapshot kept  -> told -> serving
    again after a power cut: booted from its own disk -> told -> serving

A restored machine that does not answer is tried once more, then a new one is booted instead. Whatever ends QEMU ends the host.
"""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.shell import Started, run, start
from houyi.local.lab import cables
from houyi.local.lab.birth import inside
from houyi.local.lab.layout import SERVER_ADDRESS, VMS_CIDR, HostFolder, HostRecord, LabRecord
from houyi.local.lab.machine.image import MachineImage
from houyi.local.lab.machine.monitor import Monitor
from houyi.local.lab.machine.software import paths, software_disk
from houyi.local.lab.machine.words import CABLE, LEASH, LEASH_HERE, MONITOR, PLACE, SOFTWARE_PORT, Told, qemu_words, ssh_words
from houyi.local.processes import until
from houyi.local.systemd import SETTING_SECTIONS
from houyi.model.errors import Failed, HouyiError

log = get_log(__name__)

BOOT_SECONDS = 420.0
"""40 to 60 s on two idle CPUs; emulation on busy ones takes several times as long."""
RESTORE_SECONDS = 60.0
"""1 to 3 s on idle CPUs; one that hangs does so for good."""
TELL_SECONDS = 240.0
"""Some seconds on idle CPUs: libvirtd starts again in it."""
QUIT_SECONDS = 30.0
LOOK_SECONDS = 0.5
PROBE_SECONDS = "60"
"""For the trial of KVM in it, which is Python under emulation."""
SAVED = "ready"


class Machine:
    """Of the host whose first process is `pid`. Everything in `folder` is seen by the host below / as well."""

    def __init__(self, lab: LabRecord, record: HostRecord, folder: HostFolder, pid: int, clock: Clock) -> None:
        self._lab, self._record, self._folder, self._pid, self._clock = lab, record, folder, pid, clock
        self._image = MachineImage(Path(record.machine))
        self._place = folder.path / PLACE.relative_to("/")
        self._monitor = folder.path / MONITOR.relative_to("/")
        self._disk = self._place / "disk.qcow2"

    async def live(self, join_token: str, boot_id: str) -> None:
        """Until QEMU ends. :raise HouyiError: it did not come up."""
        await self._lay_cables()
        await asyncio.to_thread(self._furnish)
        qemu = await self._serving(join_token, boot_id)
        log.info("machine_up", host=self._record.name)
        await qemu.wait()

    async def _serving(self, join_token: str, boot_id: str) -> Started:
        """A QEMU whose machine knows who it is. One that hangs on the way there is switched off and on again, once."""
        for last in (False, True):
            qemu = await self._up()
            try:
                await self._plug_software()
                await self._ssh("/usr/lib/houyi/up", stdin=self._told(join_token, boot_id).text(), seconds=TELL_SECONDS)
                break
            except HouyiError as error:
                await self._quit(qemu)
                if last:
                    raise
                log.warning("machine_hangs", host=self._record.name, detail=error.detail)
        return qemu

    async def _lay_cables(self) -> None:
        await cables.add_taps(self._pid, CABLE, LEASH, LEASH_HERE)

    def _furnish(self) -> None:
        self._place.mkdir(mode=0o700, exist_ok=True)
        for path in (self._image.kernel, self._image.initrd, self._image.key, self._image.known_hosts):
            shutil.copyfile(path, self._place / path.name)
            (self._place / path.name).chmod(0o600)

    async def _up(self) -> Started:
        """QEMU, with a system in it that answers. :raise Failed: `machine_silent`."""
        words = qemu_words(self._record.memory_mib)
        if self._disk.exists():
            return await self._begin(words, BOOT_SECONDS)
        version = (await run(("qemu-system-x86_64", "--version"), timeout=30)).text.splitlines()[0]
        snapshot = self._image.snapshot(words, version)
        for _ in range(2):
            if not snapshot.exists():
                break
            await self._have_disk(snapshot)
            try:
                return await self._begin((*words, "-loadvm", SAVED), RESTORE_SECONDS)
            except HouyiError as error:
                log.warning("machine_not_restored", host=self._record.name, detail=error.detail)
                self._disk.unlink()
        await self._have_disk(self._image.disk)
        try:
            qemu = await self._begin(words, BOOT_SECONDS)
        except HouyiError:
            self._disk.unlink()
            raise
        await self._keep_snapshot(snapshot)
        return qemu

    async def _have_disk(self, source: Path) -> None:
        new = self._disk.with_suffix(".new")
        await _copy(source, new)
        new.rename(self._disk)

    async def _begin(self, words: tuple[str, ...], seconds: float) -> Started:
        """Start QEMU, and wait until the system in it answers; if it does not, end it."""
        self._monitor.unlink(missing_ok=True)
        qemu = start(inside(self._pid, *words), log=self._folder.path / "machine.log")
        ended = False

        async def answers() -> bool:
            nonlocal ended
            ended = ended or qemu.reap()
            if ended:
                return True
            try:
                await self._ssh("test -e /run/houyi/ready", seconds=10.0)
            except HouyiError:
                return False
            return True

        if await until(answers, seconds, LOOK_SECONDS) and not ended:
            return qemu
        if not ended:
            await self._quit(qemu)
        log_end = _last_line(self._folder.path / "machine.log")
        why = f"QEMU ended: {log_end}" if ended else f"the system in it did not answer within {seconds:g} s"
        raise Failed(
            "machine_silent", f"machine {self._record.name} did not come up: {why}; its console's log is {self._folder.path}/var/log/machine-console.log"
        )

    async def _quit(self, qemu: Started) -> None:
        """Returns when it has ended: disk and cards are free again. :raise Failed: `machine_stuck`."""
        try:
            async with Monitor(self._monitor) as monitor:
                await monitor.ask("quit")
        except HouyiError as error:
            log.info("machine_gone", host=self._record.name, detail=error.detail)
        try:
            async with asyncio.timeout(QUIT_SECONDS):
                await qemu.wait()
        except TimeoutError as error:
            raise Failed("machine_stuck", f"the QEMU of machine {self._record.name} does not end: `houyi lab kill {self._record.name}`") from error

    async def _keep_snapshot(self, snapshot: Path) -> None:
        """For new machines to come. One that cannot be taken is no harm."""
        new = snapshot.with_suffix(f".{os.getpid()}")
        try:
            async with Monitor(self._monitor) as monitor:
                await monitor.tell(f"savevm {SAVED}")
                await monitor.ask("stop")
                try:
                    await _copy(self._disk, new)
                finally:
                    await monitor.tell(f"delvm {SAVED}")
                    await monitor.ask("cont")
            new.rename(snapshot)
        except HouyiError as error:
            log.warning("machine_snapshot_failed", host=self._record.name, detail=error.detail)
        finally:
            new.unlink(missing_ok=True)

    async def _plug_software(self) -> None:
        """The disk with this Houyi, as it is now."""
        made = await software_disk(self._image.path.parent)
        seen = self._place / "software.raw"
        seen.unlink(missing_ok=True)
        try:
            os.link(made, seen)
        except OSError:  # another file system
            await _copy(made, seen)
        async with Monitor(self._monitor) as monitor:
            file = {"driver": "file", "filename": str(PLACE / "software.raw"), "read-only": True}
            await monitor.ask("blockdev-add", node_name="software", driver="raw", file=file, read_only=True)
            await monitor.ask("device_add", driver="virtio-blk-pci", id="software-disk", drive="software", bus=SOFTWARE_PORT)

    def _told(self, join_token: str, boot_id: str) -> Told:
        own = {"HOUYI_AGENT__SERVER_HOST": SERVER_ADDRESS, "HOUYI_AGENT__HOST_NAME": self._record.name, "HOUYI_AGENT__PROBE_SECONDS": PROBE_SECONDS}
        python = {"PYTHON": sys.executable, **{name: value for name, value in os.environ.items() if name.startswith("PYTHON")}}
        given = {name: value for name, value in os.environ.items() if name.startswith(SETTING_SECTIONS)}
        return Told(
            time=self._clock.now(),
            boot_id=boot_id,
            name=self._record.name,
            uuid=self._lab.host_uuid(self._record),
            mac=cables.mac(self._record.number),
            address=f"{self._record.address}/24",
            route=VMS_CIDR,
            hosts=(f"{SERVER_ADDRESS} server", *(f"{peer.address} {peer.name}" for peer in self._lab.hosts)),
            paths=paths(),
            join_token=join_token,
            environment=_quoted({**python, **given, **own}),
        )

    async def _ssh(self, command: str, *, seconds: float, stdin: str = "") -> str:
        """:raise Failed: `program_failed`, `program_timeout`."""
        return (await run(inside(self._pid, *ssh_words(command)), timeout=seconds, input=stdin.encode())).text


def _quoted(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, shlex.quote(value)) for name, value in sorted(environment.items()))


async def _copy(source: Path, target: Path) -> None:
    """Holes stay holes; where the file system can, nothing is copied at all."""
    await run(("cp", "--sparse=always", "--reflink=auto", "--", str(source), str(target)), timeout=600)


def _last_line(log_file: Path) -> str:
    try:
        return log_file.read_text(errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return "(it said nothing)"
