"""`houyi up`: the whole platform on one machine, in the foreground or in the background."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from houyi.base.config import Settings
from houyi.base.log import get_log
from houyi.host.shell import Started, start
from houyi.local import before, systemd
from houyi.local.kvm_device import open_to_qemu
from houyi.local.processes import PidFile, until
from houyi.local.programs import LIBVIRT_SOCKET, PYTHON, answers_unix, programs
from houyi.local.supervisor import Supervisor
from houyi.model.errors import Failed, Forbidden

log = get_log(__name__)

UP_SECONDS = 90.0
"""How long the background start may take on a slow, busy machine: libvirtd's first start alone probes QEMU for several seconds."""


_RUN_LOCK = Path("/run/lock")
"""libvirtd wants it, and a machine without systemd may lack it."""


@dataclass(frozen=True, slots=True)
class Up:
    """What runs now."""

    already: bool
    """It ran before; what had died of it is being restarted by it."""
    running: tuple[str, ...]
    logs: str


def supervisor_file(settings: Settings) -> PidFile:
    return PidFile(settings.run_dir / "supervisor.pid")


def check_root() -> None:
    """:raise Forbidden: `not_root`."""
    if os.geteuid() != 0:
        raise Forbidden("not_root", "this acts on the machine itself: run it as root (or with sudo)")


def make_folders(settings: Settings) -> None:
    """:raise Forbidden: `not_root`. :raise Failed: `folder_unusable`."""
    check_root()
    try:
        settings.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        settings.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        settings.log_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        if not systemd.runs():
            _RUN_LOCK.mkdir(exist_ok=True)
    except OSError as error:
        raise Failed("folder_unusable", f"{error.filename}: {error.strerror}: correct state_dir, run_dir or log_dir in the settings") from error


async def up_foreground(settings: Settings) -> None:
    """Until SIGINT or SIGTERM. :raise Failed: `already_up`."""
    make_folders(settings)
    open_to_qemu()
    pid_file = supervisor_file(settings)
    with _only_one(settings.run_dir / "supervisor.lock"):
        pid_file.write(os.getpid())
        if not await answers_unix(LIBVIRT_SOCKET):
            await before.remember(settings.run_dir)
        supervisor = asyncio.create_task(Supervisor(programs(settings), settings.run_dir, settings.log_dir).run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, supervisor.cancel)
        try:
            await supervisor
        except asyncio.CancelledError:
            log.info("supervisor_stopped")
        finally:
            pid_file.remove()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock; the kernel lets go of it however we end. :raise Failed: `already_up`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Failed("already_up", "a supervisor runs already: `houyi down` stops it") from error
    finally:
        os.close(descriptor)


async def up_detached(settings: Settings) -> Up:
    """Have it run in the background and wait until everything answers. Run again, it reports, and repairs by starting what is missing.

    Where systemd runs, units keep it running and start it at boot; elsewhere a supervisor in a session of its own.
    :raise Failed: `up_failed`, with the last words of the log of what does not answer; `unit_failed`. :raise Conflict: `unit_foreign`.
    """
    make_folders(settings)
    open_to_qemu()
    wanted = programs(settings)
    waiting = list(wanted)
    by_units = systemd.runs()
    already = all([await program.ready() for program in wanted]) if by_units else supervisor_file(settings).read() is not None
    supervisor: Started | None = None
    if by_units:
        commands = {f"houyi-{program.name}.service": program.argv for program in wanted}
        await systemd.Installed().start(systemd.units(settings, commands, os.environ))
    elif not already:
        supervisor = start((*PYTHON, "up"), log=settings.log_dir / "supervisor.log")

    async def whole_or_hopeless() -> bool:
        while waiting and await waiting[0].ready():  # what has answered is not asked again
            del waiting[0]
        return not waiting or (supervisor is not None and supervisor.reap() and supervisor_file(settings).read() is None)

    await until(whole_or_hopeless, UP_SECONDS)
    if waiting:
        name = "supervisor" if supervisor is not None and supervisor_file(settings).read() is None else waiting[0].name
        where = f"`journalctl -u houyi-{name}`" if by_units else f"{settings.log_dir}/{name}.log:\n{last_words(settings, name)}"
        raise Failed("up_failed", f"{waiting[0].name} does not answer; see {where}")
    return Up(already, tuple(program.name for program in wanted), "the journal (journalctl -u 'houyi-*')" if by_units else str(settings.log_dir))


def last_words(settings: Settings, name: str, lines: int = 8) -> str:
    """The end of a program's log."""
    try:
        return "\n".join((settings.log_dir / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error.strerror})"
