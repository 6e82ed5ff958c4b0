"""`houyi up`: the whole platform on one machine, in the foreground or in the background."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from houyi.base.config import Settings
from houyi.base.log import get_log
from houyi.host.shell import start
from houyi.local.processes import PidFile, until
from houyi.local.programs import programs
from houyi.local.supervisor import Supervisor
from houyi.model.errors import Failed, Forbidden

log = get_log(__name__)

UP_SECONDS = 90.0
"""How long the background start may take on a slow, busy machine: libvirtd's first start alone probes QEMU for several seconds."""


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
        (settings.run_dir.parent / "lock").mkdir(exist_ok=True)  # libvirtd wants /run/lock, which a machine without systemd may lack
    except OSError as error:
        raise Failed("folder_unusable", f"{error.filename}: {error.strerror}: correct state_dir, run_dir or log_dir in the settings") from error


async def up_foreground(settings: Settings) -> None:
    """Until SIGINT or SIGTERM. :raise Failed: `already_up`."""
    make_folders(settings)
    pid_file = supervisor_file(settings)
    other = pid_file.read()
    if other is not None and other.pid != os.getpid():
        raise Failed("already_up", f"a supervisor runs already (pid {other.pid}): `houyi down` stops it")
    pid_file.write(os.getpid())
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


async def up_detached(settings: Settings) -> Up:
    """Have it run in the background and wait until everything answers. Run again, it reports, and repairs by starting what is missing.

    :raise Failed: `up_failed`, with the last words of the log of what does not answer.
    """
    make_folders(settings)
    already = supervisor_file(settings).read() is not None
    if not already:
        start((sys.executable, "-m", "houyi", "up"), log=settings.log_dir / "supervisor.log")
    wanted = programs(settings)

    async def whole() -> bool:
        return not await _missing(settings)

    await until(whole, UP_SECONDS)
    missing = await _missing(settings)
    if missing:
        words = last_words(settings, missing[0])
        raise Failed("up_failed", f"{missing[0]} does not answer after {UP_SECONDS:g} s; the end of {settings.log_dir}/{missing[0]}.log:\n{words}")
    return Up(already, tuple(program.name for program in wanted), str(settings.log_dir))


def last_words(settings: Settings, name: str, lines: int = 8) -> str:
    """The end of a program's log."""
    try:
        return "\n".join((settings.log_dir / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error.strerror})"


async def _missing(settings: Settings) -> list[str]:
    return [program.name for program in programs(settings) if not await program.ready()]
