"""`houyi up` and `houyi down` on a machine without systemd on which nothing runs: a VM from one command, every kill -9 healed, nothing left behind.

The tests share one machine and follow each other; each can also be run alone, since `up` is asked for again by all of them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.platform import Platform, platform

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]

NAME = "hello"
BOOT_SECONDS = 240
"""A guest boots in 10 s under TCG; in a minute where others work on the same two cores."""
HEAL_SECONDS = 60
"""Far above what healing takes: the lease of a host (15 s) and a busy machine are in it."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Platform]:
    yield from platform()


@pytest.fixture
def up(machine: Platform) -> Platform:
    machine.houyi("up", "--detach")
    machine.until(machine.ready_hosts, lambda names: len(names) == 1)
    return machine


@pytest.fixture
def placed(up: Platform, tiny_image: Path) -> Platform:
    """QEMU runs the VM; its guest may still be booting."""
    if not up.look("/v1/images/tiny"):
        up.houyi("image", "import", "tiny", "--file", str(tiny_image))
    if not up.vm(NAME):
        up.houyi("vm", "create", NAME, "--image", "tiny", "--vcpus", "1", "--memory", "128M", "--disk", "1G")
    up.until(lambda: up.pids("qemu"))
    return up


@pytest.fixture
def hello(placed: Platform) -> Platform:
    placed.until(lambda: placed.answers(NAME), seconds=BOOT_SECONDS)
    return placed


def test_up_makes_a_host_that_says_why_it_does_not_use_kvm(up: Platform) -> None:
    (name,) = up.ready_hosts()
    accelerator = up.ask("host", "show", name)["facts"]["accelerator"]
    assert accelerator["accelerator"] in {"kvm", "qemu"}
    assert (accelerator["accelerator"] == "kvm") == (accelerator["verdict"] in {"native", "slow"})
    assert accelerator["reason"]
    for kind in ("supervisor", "server", "agent", "libvirtd", "virtlogd"):
        assert len(up.pids(kind)) == 1, (kind, up.processes())


def test_a_second_up_finds_the_first(up: Platform) -> None:
    before = up.processes()
    done = up.houyi("up", "--detach")
    assert up.processes() == before
    assert re.search(r"already|running", done.stdout + done.stderr)


def test_secrets_are_private(up: Platform) -> None:
    open_to_others = [path for path in up.state.rglob("*") if re.search(r"token|\.key$", path.name) and path.is_file() and path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert list(up.run.glob("*token*")) == [], "the join token is used up"
    token = (up.state / "admin.token").read_text().strip()
    assert token not in up.logs()
    assert not any(token in line or "hyj_" in line for line in up.processes().values())


def test_a_guest_outlives_every_kill(hello: Platform) -> None:
    qemu = hello.pid("qemu")
    for kind in ("server", "agent", "libvirtd", "virtlogd"):
        killed = hello.kill(kind)
        hello.until(lambda kind=kind, killed=killed: hello.pids(kind), lambda pids, killed=killed: len(pids) == 1 and pids[0] != killed, HEAL_SECONDS)
        hello.until(hello.ready_hosts, bool, HEAL_SECONDS)
        hello.until(lambda: hello.answers(NAME), bool, HEAL_SECONDS)
        assert hello.pids("qemu") == (qemu,), kind
    hello.houyi("vm", "pause", NAME)
    hello.houyi("vm", "resume", NAME)
    assert hello.pids("qemu") == (qemu,)


def test_up_heals_the_death_of_the_supervisor(hello: Platform) -> None:
    qemu = hello.pid("qemu")
    supervisor = hello.kill("supervisor")
    hello.until(lambda: supervisor in hello.processes(), lambda there: not there)
    hello.houyi("up", "--detach")
    for kind in ("supervisor", "server", "agent", "libvirtd", "virtlogd"):
        assert len(hello.pids(kind)) == 1, (kind, hello.processes())
    hello.until(lambda: hello.answers(NAME), bool, HEAL_SECONDS)
    assert hello.pids("qemu") == (qemu,)
    for kind in ("server", "agent"):  # the new supervisor has them
        killed = hello.kill(kind)
        hello.until(lambda kind=kind, killed=killed: hello.pids(kind), lambda pids, killed=killed: len(pids) == 1 and pids[0] != killed, HEAL_SECONDS)


def test_down_leaves_nothing_and_up_brings_back(hello: Platform) -> None:
    first = hello.ask("vm", "show", NAME)["id"]
    assert hello.rules()
    assert hello.forwarding()
    hello.houyi("down")
    assert hello.processes() == {}
    assert hello.bridges() == []
    assert hello.rules() == []
    assert not hello.forwarding()
    assert hello.houyi("down").returncode == 0
    hello.houyi("up", "--detach")
    hello.until(lambda: hello.answers(NAME), bool, BOOT_SECONDS)
    assert hello.ask("vm", "show", NAME)["id"] == first


@pytest.mark.parametrize("dead", [("supervisor",), ("supervisor", "server", "agent"), ("supervisor", "server", "agent", "libvirtd")])
def test_down_works_on_what_is_half_dead(placed: Platform, dead: tuple[str, ...]) -> None:
    for kind in dead:
        placed.kill(kind)
    placed.houyi("down")
    assert placed.processes() == {}
    assert placed.bridges() == []
    assert placed.rules() == []


def test_a_pid_file_of_somebody_else_kills_nobody(up: Platform) -> None:
    """After a reboot the numbers in pid files belong to others."""
    up.houyi("down")
    other = int(up.host.inside("sh", "-c", "sleep 321 >/dev/null 2>&1 & echo $!"))
    up.run.mkdir(parents=True, exist_ok=True)
    for path in (*up.run.glob("*.pid"), *(up.run / f"{name}.pid" for name in ("supervisor", "server", "agent"))):
        path.write_text(f"{other}\n")
    up.houyi("down")
    up.houyi("up", "--detach")
    up.houyi("down")
    assert f"/proc/{other}" in up.host.inside("sh", "-c", f"echo /proc/{other}; kill -0 {other}")
    up.host.inside("kill", str(other))


def test_purge_removes_what_was_made_and_nothing_else(placed: Platform) -> None:
    keep = placed.host.folder / "etc" / "qemu" / "other.xml"
    keep.write_text("<!-- somebody else's -->")
    before = placed.mounts()
    placed.houyi("down", "--purge", "--yes")
    assert placed.processes() == {}
    for folder in (placed.state, placed.run, placed.log):
        assert not folder.exists()
    left = [path for part in ("etc", "lib", "cache", "log") for path in (placed.host.folder / part).rglob("*houyi-*")]
    assert left == []
    assert keep.exists()
    assert placed.mounts() == before
    assert placed.houyi("down", "--purge", "--yes").returncode == 0
