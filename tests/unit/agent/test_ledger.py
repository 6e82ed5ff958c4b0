"""The ledger is what an agent knows after it was killed: everything that `keep` returned for, and never half of anything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import houyi
from houyi.agent.ledger import Ledger
from houyi.model.ids import VmId
from houyi.planning.lifecycle import Memory
from houyi.wire.agents import Desired

VM = VmId("00000000-0000-4000-8000-000000000001")
WRITER = """
import sys
from pathlib import Path
from houyi.agent.ledger import Ledger
from houyi.model.ids import VmId
from houyi.planning.lifecycle import Memory
from houyi.wire.agents import Desired
ledger, vm = Ledger(Path(sys.argv[1])), VmId(sys.argv[2])
for n in range(1, 1_000_000):
    ledger.keep(vm, Memory(epoch=n, ended_serial=n, started_boot="b" * 2000))
    ledger.keep_desired(Desired(revision=n, vms=(), networks=(), images=()))
    print(n, flush=True)
"""


@pytest.mark.parametrize("after_seconds", [0.05, 0.1, 0.2])
def test_what_was_kept_survives_kill_9(tmp_path: Path, after_seconds: float) -> None:
    source = str(Path(houyi.__file__).parents[1])
    command = [sys.executable, "-c", WRITER, str(tmp_path), VM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        time.sleep(after_seconds)
        writer.send_signal(signal.SIGKILL)
        told = [1, *(int(line) for line in writer.stdout.read().splitlines())][-1]
    ledger = Ledger(tmp_path)
    assert ledger.memories[VM].epoch in (told, told + 1)
    assert ledger.memories[VM].ended_serial == ledger.memories[VM].epoch
    assert ledger.desired is not None
    assert ledger.desired.revision in (told, told + 1)


def test_an_older_agents_record_is_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep(VM, Memory(epoch=3))
    (tmp_path / "vms" / VM).write_text('{"epoch": 4, "a_field_of_tomorrow": true}')
    assert Ledger(tmp_path).memories == {VM: Memory(epoch=4)}


def test_a_damaged_snapshot_is_no_snapshot(tmp_path: Path) -> None:
    Ledger(tmp_path).keep_desired(Desired(revision=1, vms=(), networks=(), images=()))
    (tmp_path / "desired").write_bytes(b"\x80")
    assert Ledger(tmp_path).desired is None


def test_it_is_nobody_elses_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    Ledger(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "vms").stat().st_mode & 0o777 == 0o700


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep(VM, Memory(epoch=1))
    ledger.forget(VM)
    ledger.forget(VM)
    assert Ledger(tmp_path).memories == {}


def test_vms_that_left_long_ago_are_forgotten_and_no_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for vm_id, memory in (("here", Memory(epoch=1)), ("old", Memory(epoch=2, parted_at=10.0)), ("new", Memory(epoch=2, parted_at=30.0))):
        ledger.keep(VmId(vm_id), memory)
    ledger.keep(VmId("coming back"), Memory(epoch=2, parted_at=10.0, moving="m"))
    ledger.forget_parted(20.0)
    assert set(Ledger(tmp_path).memories) == {"here", "new", "coming back"}
