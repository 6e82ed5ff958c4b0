"""PostgreSQL from Debian's packages, started by the tests in a folder of its own: a Unix socket, no TCP port, never a system service.

It runs as an unprivileged user (it refuses root) and dies with the tests, also when they are killed.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from leftovers import ROOM, own, remove_leftovers

PREFIX = "houyi-pg-"
START_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


def _binaries() -> Path:
    """Where Debian keeps the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        raise RuntimeError("PostgreSQL's server is not installed, and the store is tested on it: apt-get install postgresql")
    return found[-1].parent


def _user() -> str | None:
    """Whom to run it as: None, the present user, unless that is root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


@dataclass
class Postgres:
    """A server's folder and process."""

    folder: Path
    durable: bool
    """False: a crash of the machine (not of the process) may lose everything, which makes tests faster."""
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://houyi@/{database}?host={self.folder}"

    def create(self) -> None:
        self._run("initdb", "--pgdata", str(self._data), "--auth=trust", "--username=houyi", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        options = [f"unix_socket_directories={self.folder}", "listen_addresses=", "shared_buffers=32MB", "max_connections=100", "autovacuum=off"]
        if not self.durable:
            options += ["fsync=off", "full_page_writes=off"]
        command = [str(_binaries() / "postgres"), "-D", str(self._data), *(part for option in options for part in ("-c", option))]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=_user(), group=self._group(), extra_groups=[], preexec_fn=_die_with_parent, cwd=self.folder)  # fmt: skip
            while self.process.poll() is None and time.monotonic() < deadline:
                if self._answers():
                    return
                time.sleep(0.05)
            # After a kill -9 its orphans hold the shared memory for a moment.
            time.sleep(0.2)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """As a crash of the machine would end it: no word to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Each in a transaction of its own, as the database's administrator."""
        arguments = [part for statement in statements for part in ("-c", statement)]
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", "houyi", "-d", database, *arguments)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        done = subprocess.run([_binaries() / "pg_isready", "-q", "-h", str(self.folder), "-d", "postgres"], check=False)
        return done.returncode == 0

    def _group(self) -> int | None:
        user = _user()
        return None if user is None else pwd.getpwnam(user).pw_gid

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_binaries() / program, *arguments], capture_output=True, text=True, user=_user(), group=self._group(), cwd=self.folder, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr[-2000:]}")


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A fresh server; ended, and its folder removed, whatever happens."""
    remove_leftovers(PREFIX)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=ROOM))  # short: a socket's path has at most 107 bytes; open to the other user
    own(folder)
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    server = Postgres(folder, durable)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
