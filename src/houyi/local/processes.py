"""Processes that outlive the command that started them: remembered in pid files with their start time, so that a reused pid is never signalled."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Known:
    """A process: its pid, and when it started (clock ticks since boot), which together are unique until the next boot."""

    pid: int
    started: int


def look_up(pid: int, proc: Path = Path("/proc")) -> Known | None:
    """The process that has this pid now; None: there is none, or only a zombie."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] in ("Z", "X") else Known(pid, int(fields[19]))


@dataclass(frozen=True, slots=True)
class PidFile:
    path: Path

    def write(self, pid: int) -> None:
        """:raise OSError: the folder is missing."""
        known = look_up(pid)
        if known is not None:
            new = self.path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(known))
            new.replace(self.path)

    def read(self) -> Known | None:
        """The process, if it still is the one that was written down."""
        try:
            known = msgspec.json.decode(self.path.read_bytes(), type=Known)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return known if look_up(known.pid) == known else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


LOOK_SECONDS = 0.1


async def until(true: Callable[[], Awaitable[bool]], seconds: float, look_seconds: float = LOOK_SECONDS) -> bool:
    """Look again and again until it is true; False: it is not after `seconds`. For what has no event to wait for, such as other programs' sockets.

    `look_seconds` is the pause between two looks: a look that is dear to others needs a longer one.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await true()) and loop.time() < deadline:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(look_seconds)
    return found


async def wait_end(known: Known, seconds: float | None = None) -> bool:
    """Until it has ended, also if it is not our child; False: it goes on after `seconds`."""
    try:
        descriptor = os.pidfd_open(known.pid)
    except ProcessLookupError:
        return True
    try:
        if look_up(known.pid) != known:
            return True
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(descriptor)
        return True
    finally:
        os.close(descriptor)


async def end(known: Known, seconds: float) -> None:
    """Ask it to end, and after `seconds` make it. Returns when it is gone."""
    if not send(known, signal.SIGTERM) or await wait_end(known, seconds):
        return
    await kill(known)


async def kill(known: Known) -> None:
    """Make it end. Returns when it is gone, or after 5 s: the kernel may hold it up."""
    if send(known, signal.SIGKILL):
        await wait_end(known, 5.0)


def send(known: Known, number: signal.Signals) -> bool:
    """Send a signal to this very process; False: it is gone."""
    try:
        descriptor = os.pidfd_open(known.pid)
    except ProcessLookupError:
        return False
    try:
        if look_up(known.pid) != known:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        return True
    finally:
        os.close(descriptor)
