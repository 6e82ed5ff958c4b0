"""Pid files never lead to somebody else's process; ends are seen; QEMU processes of ours are told from others'."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from houyi.host.shell import start
from houyi.local.orphans import orphans
from houyi.local.processes import Known, PidFile, end, look_up, until, wait_end

VM = "0d4a2b9e-7c1f-4a52-9b43-5f3c1a2b3c4d"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_pid_file_knows_its_process(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = PidFile(tmp_path / "x.pid")
    assert file.read() is None
    file.write(sleeper.pid)
    assert file.read() == look_up(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert file.read() is None
    file.remove()
    file.remove()


@pytest.mark.parametrize("text", ["", "12", "{", '{"pid":"x"}', '{"pid":1}', "\0"])
def test_a_damaged_pid_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pid").write_text(text)
    assert PidFile(tmp_path / "x.pid").read() is None


async def test_a_reused_pid_is_not_signalled(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    now = look_up(sleeper.pid)
    assert now is not None
    earlier = Known(now.pid, now.started - 1)
    (tmp_path / "x.pid").write_bytes(msgspec.json.encode(earlier))
    assert PidFile(tmp_path / "x.pid").read() is None
    await end(earlier, 0.1)
    assert await wait_end(earlier, 0.1)
    assert sleeper.poll() is None


def test_a_name_with_brackets_is_read_right(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) S 1 2) R 1 " + " ".join(str(n) for n in range(5, 60)))
    assert look_up(7, tmp_path) == Known(7, 22)
    (tmp_path / "7" / "stat").write_text("7 (a) Z 1 " + " ".join(str(n) for n in range(5, 60)))
    assert look_up(7, tmp_path) is None


async def test_the_end_of_another_process_is_seen(sleeper: subprocess.Popen[bytes]) -> None:
    known = look_up(sleeper.pid)
    assert known is not None
    assert not await wait_end(known, 0.05)
    asyncio.get_running_loop().call_later(0.1, sleeper.terminate)
    assert await wait_end(known, 10)
    assert await wait_end(known, 10)


async def test_who_does_not_listen_is_made_to_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = start(["sh", "-c", "trap '' TERM; echo deaf; exec sleep 60"], log=log)

    async def deaf() -> bool:
        return bool(log.read_text())

    assert await until(deaf, 10)
    known = look_up(started.pid)
    assert known is not None
    await end(known, 0.2)
    assert look_up(started.pid) is None
    assert started.reap()


async def test_until_gives_up() -> None:
    async def never() -> bool:
        return False

    async def now() -> bool:
        return True

    began = time.monotonic()
    assert not await until(never, 0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert await until(now, 0)


def process(proc: Path, pid: int, words: list[str], net: str = "net:[1]") -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns" / "net").symlink_to(net)
    (folder / "ns" / "pid").symlink_to("pid:[1]")
    (folder / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    (folder / "stat").write_text(f"{pid} (qemu) S " + " ".join(["0"] * 18) + " 77 0 0")


def test_only_qemu_of_our_vms_here_is_an_orphan(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "net").symlink_to("net:[1]")
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[1]")
    disk = f'{{"filename":"{state}/vms/{VM}/disk.qcow2"}}'
    process(tmp_path, 10, ["qemu-system-x86_64", "-name", f"guest=houyi-{VM},debug-threads=on", "-blockdev", disk])
    process(tmp_path, 11, ["qemu-system-x86_64", "-name", f"guest=houyi-{VM}", "-blockdev", disk.replace("state", "others")])
    process(tmp_path, 12, ["qemu-system-x86_64", "-name", "guest=mine", "-blockdev", disk])
    process(tmp_path, 13, ["qemu-system-x86_64", "-name", f"guest=houyi-{VM}", "-blockdev", disk], net="net:[2]")
    process(tmp_path, 14, ["vi", f"{state}/vms/{VM}/notes"])
    (tmp_path / "15").mkdir()
    assert [known.pid for known in orphans(state, tmp_path)] == [10]
    assert orphans(state) == ()
