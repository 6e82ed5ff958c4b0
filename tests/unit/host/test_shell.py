"""The only door that starts programs."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from houyi.host.shell import OUTPUT_BYTES_MAX, Limits, run, start
from houyi.model.errors import Failed


async def test_gives_output_and_passes_input() -> None:
    output = await run(["tr", "a-z", "A-Z"], timeout=10, input=b"hello")
    assert (output.code, output.stdout, output.text) == (0, b"HELLO", "HELLO")


async def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    hostile = f"; touch {tmp_path}/owned $(touch {tmp_path}/owned)"
    assert (await run(["printf", "%s", hostile], timeout=10)).text == hostile
    assert not (tmp_path / "owned").exists()


async def test_failure_carries_the_programs_words() -> None:
    with pytest.raises(Failed, match="No such file") as caught:
        await run(["ls", "/nonexistent"], timeout=10)
    assert caught.value.code == "program_failed"
    assert (await run(["ls", "/nonexistent"], timeout=10, check=False)).code == 2


async def test_missing_program() -> None:
    with pytest.raises(Failed) as caught:
        await run(["houyi-no-such-program"], timeout=10)
    assert caught.value.code == "program_missing"


async def test_timeout_kills_the_whole_session(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"import subprocess, pathlib; c = subprocess.Popen(['sleep', '60']); pathlib.Path({str(pid_file)!r}).write_text(str(c.pid)); c.wait()"
    with pytest.raises(Failed) as caught:
        await run([sys.executable, "-c", program], timeout=2)
    assert caught.value.code == "program_timeout"
    await _gone(int(pid_file.read_text()))


async def test_cancellation_kills_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(run([sys.executable, "-c", program], timeout=60))
    while not pid_file.exists() or not pid_file.read_text():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(int(pid_file.read_text()))


async def _gone(pid: int) -> None:
    """A killed grandchild may wait for the machine's init to reap it: a zombie counts as gone."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"process {pid} lives on")


async def test_environment_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUYI_SECRET_OF_OURS", "1")
    text = (await run(["env"], timeout=10, env={"GIVEN": "2"})).text
    assert "HOUYI_SECRET_OF_OURS" not in text
    assert "GIVEN=2" in text


async def test_limits_hold(tmp_path: Path) -> None:
    big = await run(["dd", "if=/dev/zero", f"of={tmp_path}/big", "bs=1M", "count=4"], timeout=10, limits=Limits(file_bytes=1 << 20), check=False)
    assert big.code != 0
    assert (tmp_path / "big").stat().st_size <= 1 << 20
    greedy = await run([sys.executable, "-c", "bytearray(1 << 30)"], timeout=10, limits=Limits(memory_bytes=256 << 20), check=False)
    assert b"MemoryError" in greedy.stderr


async def test_output_is_bounded() -> None:
    output = await run(["head", "-c", str(OUTPUT_BYTES_MAX + 1000), "/dev/zero"], timeout=30)
    assert len(output.stdout) == OUTPUT_BYTES_MAX


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_other_user() -> None:
    assert (await run(["id", "-un"], timeout=10, user="nobody")).text.strip() == "nobody"
    with pytest.raises(Failed) as caught:
        await run(["id"], timeout=10, user="houyi-nobody-at-all")
    assert caught.value.code == "user_missing"


STARTS = """
import asyncio, sys, time
from pathlib import Path
from houyi.host.shell import start
async def go():
    started = start(["sh", "-c", "echo began; sleep 30 & echo $!; wait"], log=Path(sys.argv[1]))
    while Path(sys.argv[1]).read_text().count("\\n") < 2:
        time.sleep(0.02)
    print(started.pid)
asyncio.run(go())
"""


async def test_what_is_started_outlives_us(tmp_path: Path) -> None:
    """Also the end of the event loop and of the process that started it; in a session of its own, so that no terminal and no group kill reaches it."""
    log = tmp_path / "log"
    pid = int((await run([sys.executable, "-c", STARTS, str(log)], timeout=20, env={"PYTHONPATH": os.pathsep.join(sys.path)})).text)
    try:
        assert os.getsid(pid) == pid
        assert log.read_text().startswith("began\n")
        assert log.stat().st_mode & 0o777 == 0o640
    finally:
        os.killpg(pid, signal.SIGKILL)


async def test_the_end_of_what_is_started_is_seen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    started = start(["sh", "-c", 'echo "$GREETING"; trap; kill -s PIPE $$; echo alive'], log=log, env={"GREETING": "hello"})
    await asyncio.wait_for(started.wait(), 10)
    assert log.read_text() == "before\nhello\n"
    assert started.reap()
    with pytest.raises(Failed) as caught:
        start(["houyi-no-such-program"], log=log)
    assert caught.value.code == "program_missing"
    (tmp_path / "link").symlink_to(log)
    with pytest.raises(OSError, match="symbolic links"):
        start(["true"], log=tmp_path / "link")
