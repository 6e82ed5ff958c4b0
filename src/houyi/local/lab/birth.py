"""Starting a first process (first.py) in new namespaces, and ending it: what a host's power button does, and a lab's."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from houyi.host.shell import Started, start
from houyi.local.lab.first import Orders, born_file, log_file, orders_file, ready_file
from houyi.local.processes import Known, PidFile, kill, until
from houyi.model.errors import Conflict, Failed

READY_SECONDS = 30.0
"""Far more than it takes: a fraction of a second, most of it Python's own start."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEW_NAMESPACES = ("unshare", "--pid", "--mount", "--uts", "--propagation", "private", "--fork", "--kill-child=KILL", "--")


def clean_environment(more: Mapping[str, str]) -> tuple[str, ...]:
    """The words that give a program this environment, and of ours only where Python finds its modules."""
    python = {name: value for name, value in os.environ.items() if name == "PYTHONDONTWRITEBYTECODE"}
    if search := os.environ.get("PYTHONPATH"):  # a relative path means nothing where hosts begin
        python["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in search.split(os.pathsep) if path)
    return ("env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root", *(f"{name}={value}" for name, value in {**python, **more}.items()))


def born(folder: Path) -> Known | None:
    """The first process of what is kept in this folder, if it lives."""
    return PidFile(born_file(folder)).read()


async def bear(folder: Path, orders: Orders, environment: Mapping[str, str] = MappingProxyType({})) -> Started:
    """Start it; returns when everything is made. The process returned ends when the first process does.

    :raise Failed: `namespace_failed`, with its last words. :raise Conflict: `namespace_there`: one lives already.
    """
    if born(folder) is not None:
        raise Conflict("namespace_there", f"what is kept in {folder} runs already: end it first")
    orders_file(folder).write_bytes(msgspec.json.encode(orders))
    for path in (born_file(folder), ready_file(folder)):
        path.unlink(missing_ok=True)
    log_file(folder).unlink(missing_ok=True)
    argv = (*clean_environment(environment), *NEW_NAMESPACES, sys.executable, "-P", "-m", "houyi.local.lab.first", str(folder))
    started = start(argv, log=log_file(folder))
    ended = False

    async def whole_or_hopeless() -> bool:
        nonlocal ended
        ended = started.reap()
        return ended or PidFile(ready_file(folder)).read() is not None

    if not await until(whole_or_hopeless, READY_SECONDS) or ended:
        known = born(folder)
        if known is not None:
            await kill(known)
        raise Failed("namespace_failed", f"the first process of {folder.name} did not come up: {last_words(log_file(folder))}")
    return started


def inside(pid: int, *argv: str) -> tuple[str, ...]:
    """The words that run a program where the first process `pid` lives."""
    return ("nsenter", f"--target={pid}", "--pid", "--mount", "--uts", "--net", "--", *argv)


def last_words(log: Path, lines: int = 8) -> str:
    """The end of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error.strerror})"
