"""Keeps a few programs running where no systemd does: starts them in order, restarts what dies, adopts what an earlier supervisor left.

absent -> starting -> running -> (died) -> waiting -> starting ...
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from houyi.base.log import get_log
from houyi.host.shell import start
from houyi.local.processes import Known, PidFile, end, look_up, until, wait_end
from houyi.model.errors import HouyiError

log = get_log(__name__)

DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before the n-th restart in a row; the last one stays."""
STEADY_SECONDS = 30.0
"""A program that ran this long begins again at the first delay."""
READY_SECONDS = 30.0
"""How long the next program waits for this one to be ready; then it is started all the same, since all of them can wait."""
LOG_BYTES_MAX = 16 << 20
"""A log beyond this is copied aside and emptied; one old one is kept."""
LOG_LOOK_SECONDS = 30.0
END_SECONDS = 15.0
COMM_BYTES = 15
"""What the kernel keeps of a program's name (TASK_COMM_LEN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    """Whether it serves already."""
    pid_path: Path | None = None
    """A pid file of the program's own (plain number): a process that somebody else has started is then left to him."""
    outlives: bool = False
    """Whether it goes on when the supervisor is stopped: VMs lean on it."""


class Supervisor:
    def __init__(self, programs: Sequence[Program], run_dir: Path, log_dir: Path) -> None:
        self._programs = programs
        self._run_dir = run_dir
        self._log_dir = log_dir

    def pid_file(self, program: Program) -> PidFile:
        return PidFile(self._run_dir / f"{program.name}.pid")

    async def run(self) -> None:
        """Until cancelled; then the programs that do not outlive it are ended, last first."""
        tasks = [asyncio.create_task(self._trim_logs(), name="trim-logs")]
        try:
            for program in self._programs:
                tasks.append(asyncio.create_task(self._keep(program), name=f"keep-{program.name}"))
                await until(program.ready, READY_SECONDS)
            log.info("all_started")
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for program in reversed([program for program in self._programs if not program.outlives]):
                known = self.pid_file(program).read()
                if known is not None:
                    await end(known, END_SECONDS)
                self.pid_file(program).remove()

    async def _keep(self, program: Program) -> None:
        tries = 0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._one_life(program)
            except (HouyiError, OSError) as error:
                log.error("program_not_started", program=program.name, error=str(error))
            tries = 0 if clock() - began >= STEADY_SECONDS else tries + 1
            delay = DELAYS_SECONDS[min(tries, len(DELAYS_SECONDS) - 1)]
            log.warning("program_ended", program=program.name, restart_in_seconds=delay)
            await asyncio.sleep(delay)

    async def _one_life(self, program: Program) -> None:
        pid_file = self.pid_file(program)
        known = pid_file.read() or foreign(program)
        if known is not None:
            log.info("program_adopted", program=program.name, pid=known.pid)
            await wait_end(known)
            return
        process = start(program.argv, log=self._log_dir / f"{program.name}.log")
        pid_file.write(process.pid)
        log.info("program_started", program=program.name, pid=process.pid)
        await process.wait()

    async def _trim_logs(self) -> None:
        while True:
            for path in self._log_dir.glob("*.log"):
                try:
                    await asyncio.to_thread(trim_log, path, LOG_BYTES_MAX)
                except OSError as error:
                    log.warning("log_not_trimmed", path=str(path), error=str(error))
            await asyncio.sleep(LOG_LOOK_SECONDS)


def trim_log(path: Path, bytes_max: int) -> bool:
    """Copy a log that is too long aside and empty it; its writers append, so they go on at the start. What is written in between is lost."""
    if path.stat().st_size <= bytes_max:
        return False
    old = path.with_suffix(".log.1")
    shutil.copyfile(path, old)
    old.chmod(path.stat().st_mode & 0o777)
    os.truncate(path, 0)
    return True


def foreign(program: Program, proc: Path = Path("/proc")) -> Known | None:
    """The program's process by its own pid file, whoever started it. The pid may be another's by now: its name has to be the program's."""
    if program.pid_path is None:
        return None
    try:
        pid = int(program.pid_path.read_text())
        name = (proc / str(pid) / "comm").read_text().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return look_up(pid, proc) if name == Path(program.argv[0]).name[:COMM_BYTES] else None
