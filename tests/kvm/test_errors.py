"""Machine checks on real KVM: one put into a guest is logged by its kernel, and memory that breaks under a VM is that VM's trouble and nobody else's."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.labs import Lab
from real.tiny import logging_path

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(1800)]

HIT, SPARED = "hit", "spared"
START_SECONDS = 400
"""KVM on an emulated CPU: a guest boots in a minute on idle CPUs."""
CORRECTED = "mce 0 9 0x9c000040000800c3 0 0x12345000 0x8c"
"""To QEMU's monitor: CPU 0, bank 9, a valid status with address, corrected by the memory controller."""
STATUS = "9c000040000800c3"
POLL = "echo 2 > /sys/devices/system/machinecheck/machinecheck0/check_interval"
"""A kernel looks for corrected errors every five minutes; in this guest every two seconds."""
BOOT = re.compile(r"boot=([0-9a-f-]{36})=")
LAST, PAGE = 100_000, 70
"""A file of numbers in the guest, and the page of it that breaks: in the middle, so that no buffer holds a copy of it."""


def answer(lab: Lab, name: str, line: str) -> str:
    """What a guest says on its console when this is typed there."""
    words = lab.argv("vm", "console", name, "--idle", "10")
    return subprocess.run(words, env=lab.environment, input=f"{line}\n", capture_output=True, text=True, timeout=120, check=False, cwd=lab.room).stdout


def up(lab: Lab, name: str) -> str:
    """The guest's present boot, once it answers."""
    said = lab.until(lambda: BOOT.findall(answer(lab, name, "echo boot=$(cat /proc/sys/kernel/random/boot_id)=")), bool, START_SECONDS)
    return str(said[-1])


def kinds(lab: Lab, name: str) -> list[str]:
    return [event["kind"] for event in lab.ask("vm", "events", name)]


@pytest.fixture(scope="module")
def guests(nested: Lab) -> Iterator[Lab]:
    nested.houyi("image", "import", "logging", "--file", str(logging_path()), seconds=300)
    for name in (HIT, SPARED):
        size = ("--vcpus", "1", "--memory", "128M", "--disk", "1G")
        nested.houyi("vm", "create", name, "--image", "logging", *size, "--network", "lab", seconds=START_SECONDS)
    yield nested
    for name in (HIT, SPARED):
        nested.houyi("vm", "delete", name, "--yes", code=None)


def test_a_machine_check_is_logged_by_the_kernel_of_the_guest_it_is_put_into(guests: Lab) -> None:
    boots = {name: up(guests, name) for name in (HIT, SPARED)}
    for name in boots:
        answer(guests, name, POLL)
    guests.on("m1", "virsh", "qemu-monitor-command", "--hmp", guests.vm(HIT)["id"], CORRECTED)
    guests.until(lambda: answer(guests, HIT, "dmesg | grep 'Machine Check'"), lambda text: STATUS in text, 60)
    assert STATUS not in answer(guests, SPARED, "dmesg | grep 'Machine Check'")
    assert {name: up(guests, name) for name in boots} == boots, "it was corrected: everybody goes on"


def test_broken_memory_reaches_only_the_vm_that_has_it(guests: Lab) -> None:
    boots = {name: up(guests, name) for name in (HIT, SPARED)}
    answer(guests, HIT, f"seq 1 {LAST} > /dev/shm/numbers")
    told = kinds(guests, HIT).count("vm.memory_failure")
    guests.houyi("vm", "set", HIT, "--on-trouble", "memory_failure=restart")
    pid = guests.on("m1", "pgrep", "-o", "-f", guests.vm(HIT)["id"]).strip()
    guests.on("m1", "python3", "-c", (Path(__file__).parent / "poison.py").read_text(), pid, "1", str(LAST), str(PAGE))
    answer(guests, HIT, "md5sum /dev/shm/numbers")
    guests.until(lambda: kinds(guests, HIT).count("vm.memory_failure"), lambda count: count > told, 120)
    assert guests.on("m1", "grep", "HardwareCorrupted", "/proc/meminfo").split()[1] == "4", "one page, in kB"
    assert up(guests, SPARED) == boots[SPARED]
    assert "vm.memory_failure" not in kinds(guests, SPARED)
    guests.until(lambda: up(guests, HIT), lambda boot: boot != boots[HIT], START_SECONDS)
    assert guests.vm(HIT)["state"] == "running", "with other memory in the place of that page"
    assert guests.host("m1")["heard"], "the machine goes on as well"
