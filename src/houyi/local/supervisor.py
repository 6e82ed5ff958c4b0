"""Keeps a few programs running where no systemd does: starts them in order, restarts what dies, adopts what an earlier supervisor left.

absent -> starting -> running -> (died) -> waiting -> starting ...
"""

import asyncio
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
"""A log beyond this is moved aside when its program is started; one old one is kept."""
END_SECONDS = 15.0


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
        tasks: list[asyncio.Task[None]] = []
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
        log_path = self._log_dir / f"{program.name}.log"
        if log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX:
            log_path.replace(log_path.with_suffix(".log.1"))
        process = await start(program.argv, log=log_path)
        pid_file.write(process.pid)
        log.info("program_started", program=program.name, pid=process.pid)
        await process.wait()


def foreign(program: Program) -> Known | None:
    """The program's process by its own pid file, whoever started it."""
    if program.pid_path is None:
        return None
    try:
        return look_up(int(program.pid_path.read_text()))
    except (FileNotFoundError, ValueError):
        return None
