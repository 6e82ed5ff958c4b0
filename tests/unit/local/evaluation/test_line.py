"""Commands over a console: the guest's own script says what they said, and what the line garbles is asked for again."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import houyi.host.build
from houyi.local.evaluation.line import _JOB, Line, read_job
from houyi.model.errors import Failed

JOB = Path(houyi.host.build.__file__).with_name("bench_files") / "job"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The guest's script, with a folder of ours."""
    ours = tmp_path / "job"
    ours.write_text(JOB.read_text().replace("folder=/run/job", f"folder={tmp_path / 'kept'}"))
    return ours


def ran(job: Path, *words: str) -> bytes:
    """As a terminal brings it: lines end in CR LF."""
    busybox = shutil.which("busybox")
    assert busybox
    done = subprocess.run([busybox, "sh", str(job), *words], capture_output=True, timeout=30, check=True)
    return done.stdout.replace(b"\n", b"\r\n")


class Console:
    """A websocket at whose other end a guest runs what it is told; `spoil` changes what comes."""

    def __init__(self, job: Path, spoil: Sequence[bytes] = ()) -> None:
        self._job = job
        self._spoil = list(spoil)
        self._waiting: list[bytes] = []
        self.told: list[str] = []

    async def send(self, data: bytes) -> None:
        words = data.decode().strip()
        self.told.append(words)
        said = ran(self._job, *shlex.split(words)[1:])
        if self._spoil:
            middle = len(said) // 2
            said = said[:middle] + self._spoil.pop(0) + said[middle:]
        self._waiting += [said[at : at + 100] for at in range(0, len(said), 100)]

    async def recv(self) -> bytes:
        return self._waiting.pop(0)


def line(console: Any) -> Line:
    return Line(console)


async def test_output_complaints_and_exit_status_come(job: Path) -> None:
    console = Console(job)
    said = await line(console).run(("sh", "-c", "echo 'one  two'; echo \"it's bad\" >&2; exit 3"), 10)
    assert (said.code, said.complaint) == (3, "it's bad")
    assert said.text == "one  two\n\nit's bad\n"


async def test_much_output_comes_whole(job: Path) -> None:
    said = await line(Console(job)).run(("seq", "1", "20000"), 10)
    assert said.text.split()[:20000] == [str(number) for number in range(1, 20001)]


async def test_a_program_that_opens_stdout_anew(job: Path) -> None:
    said = await line(Console(job)).run(("sh", "-c", "echo first; echo second > /dev/stdout"), 10)
    assert said.text.split() == ["first", "second"]


async def test_what_is_garbled_is_asked_for_again(job: Path) -> None:
    console = Console(job, [b"[   12.3] the kernel speaks\r\n"])
    said = await line(console).run(("echo", "hello"), 10)
    assert said.text.strip() == "hello"
    assert console.told[1:] == ["job again 1"]


async def test_a_line_that_garbles_all_is_given_up(job: Path) -> None:
    with pytest.raises(Failed) as refused:
        await line(Console(job, [b"noise"] * 9)).run(("echo", "hello"), 10)
    assert refused.value.code == "bench_line_garbled"


async def test_a_program_that_hangs_is_killed_in_the_guest(job: Path) -> None:
    with pytest.raises(Failed) as refused:
        await line(Console(job)).run(("sleep", "20"), 1)
    assert refused.value.code == "bench_timeout"


async def test_words_are_quoted(job: Path, tmp_path: Path) -> None:
    said = await line(Console(job)).run(("printf", "%s|", "a b", "$HOME", "`id`", "';touch x"), 10)
    assert said.text.strip() == "a b|$HOME|`id`|';touch x|"
    assert not (tmp_path / "x").exists()


async def test_a_command_longer_than_a_line(job: Path) -> None:
    with pytest.raises(Failed) as refused:
        await line(Console(job)).run(("echo", "x" * 4000), 10)
    assert refused.value.code == "bench_command_long"


def test_what_belongs_to_another_job_is_not_taken(job: Path) -> None:
    said = ran(job, "7", "5", "echo", "hello")
    found = _JOB.search(said)
    assert found is not None
    assert read_job(found, 7) is not None
    assert read_job(found, 8) is None


def test_a_hostile_guest_only_fails(job: Path) -> None:
    said = ran(job, "7", "5", "echo", "hello")
    for spoiled in (
        said.replace(b"@@end 7", b"@@end 8"),
        re.sub(rb"[0-9a-f]{32}", b"0" * 32, said),
        b"@@job 7 0 " + b"d41d8cd98f00b204e9800998ecf8427e" + b"\r\n@@end 7",
    ):
        found = _JOB.search(spoiled)
        assert found is not None
        assert read_job(found, 7) is None


def test_the_scripts_are_sound() -> None:
    room = Path(houyi.__file__).parent
    scripts = [JOB, room / "local/evaluation/enter", room / "local/evaluation/join"]
    assert subprocess.run(["shellcheck", "-s", "sh", *map(str, scripts)], check=False, capture_output=True, text=True).stdout == ""
    assert all(os.access(script, os.R_OK) for script in scripts)
