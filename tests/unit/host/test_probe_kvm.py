"""What the trial of KVM means, that it ends in time whatever happens, and that it runs beside an event loop and threads."""

import asyncio
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from houyi.host.probe import kvm_trial
from houyi.host.probe.kvm import SPARE_SHARE, judge, probe_kvm
from houyi.host.probe.probe import choose_accelerator
from houyi.model.host import Accelerator

EXITS = {"cpuid": 900, "out": 2500, "mmio": 4100}
WHOLE = {"present": True, "stage": "done", "exit_ns": EXITS}


@pytest.mark.parametrize(
    ("found", "verdict", "accelerator"),
    [
        ({"present": False}, "absent", "qemu"),
        ({"present": True, "denied": "[Errno 13] Permission denied: '/dev/kvm'"}, "denied", "qemu"),
        ({"present": True, "stage": "first instructions", "hang": 5.0}, "hang", "qemu"),
        ({"present": True, "hang": 5.0}, "hang", "qemu"),
        ({"present": True, "stage": "exits", "loop_ns": 0.4, "hang": 5.0}, "hang", "qemu"),
        ({"present": True, "stage": "setting up", "error": "OSError: [Errno 22] Invalid argument"}, "broken", "qemu"),
        ({"present": True, "stage": "exits", "loop_ns": 0.4, "error": "RuntimeError: mmio: KVM_RUN ended with exit reason 17"}, "broken", "qemu"),
        ({"present": True, "stage": "exits", "loop_ns": 0.4}, "broken", "qemu"),  # it died on the way
        ({"present": True}, "broken", "qemu"),
        (WHOLE | {"loop_ns": 0.31}, "native", "kvm"),
        (WHOLE | {"loop_ns": 1.5}, "native", "kvm"),
        (WHOLE | {"loop_ns": 5.2}, "slow", "kvm"),
        (WHOLE | {"loop_ns": 36.1}, "slow", "kvm"),
        (WHOLE | {"loop_ns": 700.0}, "emulated", "qemu"),
        (WHOLE | {"loop_ns": 2335.6}, "emulated", "qemu"),
    ],
)
def test_verdicts(found: dict[str, object], verdict: str, accelerator: str) -> None:
    probe = judge(found)
    assert (probe.verdict, probe.accelerator.value) == (verdict, accelerator)
    assert len(probe.reason) > 20
    assert dict(probe.exit_ns) == (EXITS if accelerator == "kvm" else {})


def test_a_reason_tells_where_it_hung() -> None:
    assert "first instructions" in judge({"present": True, "stage": "first instructions", "hang": 5.0}).reason


async def test_a_setting_forces_without_trying() -> None:
    probe = await choose_accelerator("qemu", 0.0)
    assert (probe.accelerator, probe.verdict) == (Accelerator.QEMU, "forced")


async def test_it_ends_in_time_and_leaves_the_event_loop_alone() -> None:
    """On whatever machine this runs: an answer within the limit, while the loop keeps turning."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    ticking = asyncio.create_task(turn())
    began = time.monotonic()
    probe = await probe_kvm(5.0)
    assert time.monotonic() - began < 5.0 * (1 + SPARE_SHARE) + 2
    ticking.cancel()
    assert turns > 2
    assert probe.verdict in {"native", "slow", "emulated", "broken", "hang", "absent", "denied"}
    assert (probe.accelerator is Accelerator.KVM) == (probe.verdict in {"native", "slow"})


HANGS = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import kvm_trial
def stuck(say):
    os.write(say, b'{"stage": "first instructions"}')
    time.sleep(60)
print(json.dumps(kvm_trial.watch(0.5, stuck)))
"""


def test_a_virtual_cpu_that_never_comes_back_is_left_behind() -> None:
    """The reader sees the end of the output at the limit, not when the stuck child ends."""
    began = time.monotonic()
    argv = [sys.executable, "-I", "-c", HANGS, str(Path(kvm_trial.__file__).parent)]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=True)
    assert time.monotonic() - began < 10
    assert json.loads(done.stdout) == {"hang": 0.5, "stage": "first instructions"}


@pytest.mark.parametrize("name", kvm_trial.BODIES)
def test_the_guests_jump_back_to_their_bodies(name: str) -> None:
    code, body = kvm_trial.program(kvm_trial.BODIES[name]), kvm_trial.BODIES[name]
    assert code.endswith(b"\xf4")
    jump = len(code) - 3
    assert code[jump] == 0x75
    target = jump + 2 + struct.unpack("b", code[jump + 1 : jump + 2])[0]
    assert code[target:].startswith(body + b"\x49\xff\xcc")


def test_it_needs_the_standard_library_only() -> None:
    argv = [sys.executable, "-I", "-S", kvm_trial.__file__, "5"]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=True)
    assert "present" in json.loads(done.stdout)
