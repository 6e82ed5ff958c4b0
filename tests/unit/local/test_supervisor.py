"""The supervisor with real small programs: restarts with backoff, adopts what an earlier one left, ends what is its own, trims logs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from houyi.base.config import ServerSettings, Settings
from houyi.local.processes import PidFile, end, look_up, until
from houyi.local.supervisor import Program, Supervisor, foreign, trim_log
from houyi.local.up import up_detached, up_foreground
from houyi.model.errors import Failed


def program(folder: Path, name: str, script: str = "sleep 60", **more: object) -> Program:
    """It says its pid in a line of its log and then does what `script` says."""
    log = folder / f"{name}.log"

    async def ready() -> bool:
        return log.exists() and log.stat().st_size > 0

    return Program(name=name, argv=("sh", "-c", f"echo $$; exec {script}"), ready=ready, **more)  # type: ignore[arg-type]


def lives(folder: Path, name: str) -> list[int]:
    """The pids of all lives so far."""
    path = folder / f"{name}.log"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@asynccontextmanager
async def supervised(folder: Path, *programs: Program) -> AsyncIterator[asyncio.Task[None]]:
    """A supervisor at work; whatever it leaves is ended, also what is meant to outlive it."""
    task = asyncio.create_task(Supervisor(programs, folder, folder).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for each in programs:
            if (known := PidFile(folder / f"{each.name}.pid").read()) is not None:
                await end(known, 5)


async def comes_true(look: Callable[[], bool], seconds: float = 20) -> None:
    async def true() -> bool:
        return look()

    assert await until(true, seconds)


async def test_what_is_killed_is_started_again_and_later_each_time(tmp_path: Path) -> None:
    async with supervised(tmp_path, program(tmp_path, "a")):
        loop = asyncio.get_running_loop()
        taken = []
        for number in range(1, 4):
            await comes_true(lambda number=number: len(lives(tmp_path, "a")) == number)  # type: ignore[misc]
            began = loop.time()
            os.kill(lives(tmp_path, "a")[-1], signal.SIGKILL)
            await comes_true(lambda number=number: len(lives(tmp_path, "a")) == number + 1)  # type: ignore[misc]
            taken.append(loop.time() - began)
        assert taken[0] < taken[2]
    assert look_up(lives(tmp_path, "a")[-1]) is None


async def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    async def never() -> bool:
        return True

    missing = Program(name="missing", argv=(str(tmp_path / "later"),), ready=never)
    async with supervised(tmp_path, missing):
        await asyncio.sleep(0.3)
        script = tmp_path / "new"
        script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/ran; exec sleep 60\n")
        script.chmod(0o755)
        script.rename(tmp_path / "later")
        await comes_true((tmp_path / "ran").exists)


async def test_a_new_supervisor_adopts_and_heals_what_a_dead_one_left(tmp_path: Path) -> None:
    one = program(tmp_path, "a")
    async with supervised(tmp_path, one) as first:
        await comes_true(lambda: PidFile(tmp_path / "a.pid").read() is not None and bool(lives(tmp_path, "a")))
        (pid,) = lives(tmp_path, "a")
        kept = (tmp_path / "a.pid").read_bytes()
        orphan = tmp_path / "elsewhere"
        orphan.mkdir()
        (orphan / "a.pid").write_bytes(kept)
        (orphan / "a.log").write_text(f"{pid}\n")
        async with supervised(orphan, program(orphan, "a")):
            await asyncio.sleep(0.5)
            assert lives(orphan, "a") == [pid], "a second copy was started"
            first.cancel()  # which ends the program: for the second supervisor it has died
            await comes_true(lambda: len(lives(orphan, "a")) == 2)
            assert look_up(lives(orphan, "a")[-1]) is not None


async def test_what_outlives_goes_on_and_the_rest_ends(tmp_path: Path) -> None:
    lasting, passing = program(tmp_path, "lasting", outlives=True), program(tmp_path, "passing")
    async with supervised(tmp_path, lasting, passing) as task:
        await comes_true(lambda: bool(lives(tmp_path, "lasting") and lives(tmp_path, "passing")))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert look_up(lives(tmp_path, "passing")[0]) is None
        assert look_up(lives(tmp_path, "lasting")[0]) is not None
        assert not (tmp_path / "passing.pid").exists()


async def test_programs_have_sessions_of_their_own(tmp_path: Path) -> None:
    async with supervised(tmp_path, program(tmp_path, "a")):
        await comes_true(lambda: bool(lives(tmp_path, "a")))
        (pid,) = lives(tmp_path, "a")
        assert os.getsid(pid) == pid != os.getsid(0)


def test_a_foreign_pid_file_counts_only_for_a_process_of_that_name(tmp_path: Path) -> None:
    async def ready() -> bool:
        return True

    path = tmp_path / "daemon.pid"
    daemon = Program(name="daemon", argv=("/usr/sbin/daemon-with-a-long-name",), ready=ready, pid_path=path)
    assert foreign(daemon, tmp_path) is None
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "stat").write_text("9 (x) S " + " ".join(["0"] * 18) + " 5 0 0")
    for text, comm, found in (("9\n", "daemon-with-a-l\n", True), ("9\n", "bash\n", False), ("x", "daemon-with-a-l\n", False), ("8", "", False)):
        path.write_text(text)
        (tmp_path / "9" / "comm").write_text(comm)
        assert (foreign(daemon, tmp_path) is not None) is found, (text, comm)


def test_a_log_is_trimmed_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        assert not trim_log(path, 100)
        writer.write(b"y")
        assert trim_log(path, 100)
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100 + b"y"


@pytest.mark.skipif(os.geteuid() != 0, reason="up is for root")
async def test_only_one_supervisor(tmp_path: Path) -> None:
    import fcntl

    settings = Settings(state_dir=tmp_path / "state", run_dir=tmp_path / "run", log_dir=tmp_path / "log", server=ServerSettings(api_port=1))
    settings.run_dir.mkdir()
    with (settings.run_dir / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Failed) as refused:
            await up_foreground(settings)
    assert refused.value.code == "already_up"
    assert not (settings.run_dir / "supervisor.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="up is for root")
async def test_a_supervisor_that_dies_at_once_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ServerSettings(api_port=1, agents_port=1)
    settings = Settings(state_dir=tmp_path / "state", run_dir=tmp_path / "run", log_dir=tmp_path / "log", server=own)
    monkeypatch.setenv("HOUYI_LOG__LEVEL", "nonsense")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with pytest.raises(Failed, match="nonsense") as failed:
        await asyncio.wait_for(up_detached(settings), 60)
    assert failed.value.code == "up_failed"
