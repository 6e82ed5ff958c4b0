"""A whole physical machine with real KVM, as its administrator sees it: what it can, a VM on it whose exits are counted, its power cord."""

import re
import subprocess

import pytest

from real.labs import Lab

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(1800)]

NAME = "guest"
START_SECONDS = 400
"""KVM on an emulated CPU: a guest boots in a minute on idle CPUs."""
BOOT_SECONDS = 900
"""A minute on idle CPUs, until it is a ready host."""


def exits(lab: Lab) -> int:
    """All VM exits of all its vCPUs so far, as the hypervisor counts them."""
    text = lab.on("m1", "virsh", "domstats", "--vcpu")
    return sum(int(count) for count in re.findall(r"vcpu\.\d+\.exits\.sum=(\d+)", text))


def answer(lab: Lab, line: str) -> str:
    """What a guest says on its console when this is typed there."""
    words = lab.argv("vm", "console", NAME, "--idle", "10")
    return subprocess.run(words, env=lab.environment, input=f"{line}\n", capture_output=True, text=True, timeout=120, check=False, cwd=lab.room).stdout


def test_it_is_a_host_like_any_other(nested: Lab) -> None:
    host = nested.host("m1")
    assert (host["power"], host["state"], host["machine"], host["heard"]) == ("on", "ready", True, True)
    accelerator = nested.ask("host", "show", "m1")["facts"]["accelerator"]
    assert accelerator["accelerator"] == "kvm", accelerator


def test_it_has_what_a_hypervisor_has(nested: Lab) -> None:
    assert "svm" in nested.on("m1", "grep", "-m1", "flags", "/proc/cpuinfo").split()
    assert nested.on("m1", "cat", "/sys/module/kvm_amd/parameters/npt").strip() in ("Y", "1")
    assert nested.on("m1", "ls", "/sys/class/iommu").split()
    assert nested.on("m1", "ls", "/dev/vhost-net").strip() == "/dev/vhost-net"
    assert int(nested.on("m1", "sh", "-c", "cat /sys/class/net/*/device/sriov_totalvfs")) > 0


def test_a_vm_runs_under_kvm_and_its_exits_are_counted(nested: Lab) -> None:
    nested.houyi("vm", "create", NAME, "--image", "tiny", "--vcpus", "1", "--memory", "128M", "--disk", "1G", "--network", "lab", seconds=START_SECONDS)
    assert nested.vm(NAME)["accelerator"] == "kvm"
    nested.until(lambda: answer(nested, "echo its $((6 * 7))"), lambda text: "its 42" in text, START_SECONDS)
    before = exits(nested)
    assert before > 0
    nested.until(lambda: exits(nested), lambda now: now > before, 60)


def test_power_is_lost_and_comes_back(nested: Lab) -> None:
    before = nested.on("m1", "cat", "/proc/sys/kernel/random/boot_id")
    nested.houyi("lab", "kill", "m1")
    assert nested.host("m1")["power"] == "off"
    nested.houyi("lab", "start", "m1")
    nested.until(lambda: nested.host("m1"), lambda host: host["heard"] and host["state"] == "ready", BOOT_SECONDS)
    assert nested.on("m1", "cat", "/proc/sys/kernel/random/boot_id") != before
