"""The only door through which Houyi starts another program.

A program gets an argument list (there is no shell), an environment of its own, a wall-clock limit, and, where asked, resource limits
and another user. It runs in a session of its own, so that its end (time-out, cancellation) is also the end of whatever it started.
What it prints is kept up to a bound. It knows nothing of VMs.
"""

import asyncio
import contextlib
import os
import pwd
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from houyi.model.errors import Failed

OUTPUT_BYTES_MAX = 16 << 20
"""What is kept of each of stdout and stderr; the rest is read and dropped, so that a babbling program neither blocks nor fills our memory."""
_READ_BYTES = 1 << 16
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of a program and its children; None: as ours. Set by prlimit(1) before the program starts."""

    memory_bytes: int | None = None
    """Address space."""
    cpu_seconds: int | None = None
    file_bytes: int | None = None
    """Largest file it may write."""
    open_files: int | None = None

    def prefix(self) -> list[str]:
        asked = (("as", self.memory_bytes), ("cpu", self.cpu_seconds), ("fsize", self.file_bytes), ("nofile", self.open_files))
        options = [f"--{name}={value}" for name, value in asked if value is not None]
        return ["prlimit", *options, "--core=0", "--"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a program ended."""

    code: int
    """Exit status; negative: the signal that killed it."""
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last words of stderr (else stdout), for a message to people."""
        words = (self.stderr.strip() or self.stdout.strip()).decode(errors="replace")
        return words[-2000:] or (f"killed by signal {-self.code}" if self.code < 0 else f"exit status {self.code}, and no word about it")


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: bytes = b"",
    limits: Limits | None = None,
    user: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Output:
    """Run a program to its end.

    `timeout` is wall-clock seconds; `env` is added to a minimal environment (ours is not inherited); `user` (a name) drops to that user and
    its groups without a way back, only possible for root. `argv` is visible to everyone on the machine: secrets go through `input`.

    :raise Failed: `program_missing`, `user_missing`, `program_timeout`, and with `check` `program_failed` when the exit status is not 0.
    """
    name = Path(argv[0]).name
    full = [*(_as_user(user) if user else ()), *(limits.prefix() if limits else ()), *argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *full,
            stdin=asyncio.subprocess.PIPE if input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Failed("program_missing", f"{error.filename or full[0]} could not be started ({error.strerror}): install it or correct PATH") from error
    try:
        async with asyncio.timeout(timeout):
            _, stdout, stderr = await asyncio.gather(_feed(process, input), _drain(process.stdout), _drain(process.stderr))
            code = await process.wait()
    except TimeoutError as error:
        raise Failed("program_timeout", f"{name} did not end within {timeout:g} s and was killed: look why it hangs, or try again") from error
    finally:
        await _end(process)
    output = Output(code=code, stdout=stdout, stderr=stderr)
    if check and code != 0:
        raise Failed("program_failed", f"{name} failed: {output.complaint}", exit_status=code)
    return output


@dataclass(frozen=True, slots=True)
class Started:
    """A program that goes on without us. Unlike asyncio's processes it is not killed when our event loop is closed or this object is forgotten."""

    pid: int

    async def wait(self) -> None:
        """Until it has ended; reaps it."""
        descriptor = os.pidfd_open(self.pid)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
        try:
            await ended
            self.reap()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def reap(self) -> bool:
        """Whether it has ended."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Started:
    """Start a program that outlives us: in a session of its own, with its output appended to `log` (mode 0640).

    `env` is added to our own environment. :raise Failed: `program_missing`.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640)
    try:
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            {**os.environ, **(env or {})},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these; a program expects them as they are by default
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Failed("program_missing", f"{argv[0]} could not be started ({error.strerror}): install it or correct PATH") from error
    finally:
        os.close(output)
    return Started(pid)


def become(argv: Sequence[str]) -> NoReturn:
    """Be that program from now on, with our terminal, environment and working directory. :raise Failed: `program_missing`."""
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell is what we want
    except OSError as error:
        raise Failed("program_missing", f"{argv[0]} could not be started ({error.strerror}): install it or correct PATH") from error


def _as_user(user: str) -> list[str]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise Failed("user_missing", f"there is no user {user!r} on this machine: install the package that makes it, or correct the setting") from error
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", "--inh-caps=-all", "--no-new-privs", "--"]


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may end without reading all
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _drain(stream: asyncio.StreamReader | None) -> bytes:
    kept = bytearray()
    while stream is not None and (data := await stream.read(_READ_BYTES)):
        kept += data[: OUTPUT_BYTES_MAX - len(kept)]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave nothing of the session behind: kill the group (its leader may be gone while children live on) and reap the leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
