"""`houyi bench run` whole: the same programs on the machine, in a container and in a VM, a report that a browser draws, and nothing left behind."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from houyi.host.build.bench import TREE
from houyi.local.lab.birth import inside
from real.browser import look
from real.platform import Platform, platform
from real.tiny import bench_folder

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PLACES = ("machine", "container", "vm")
NAMES = ("syscall", "net-latency")


@pytest.fixture(scope="module")
def machine() -> Iterator[Platform]:
    built = bench_folder()
    for made in platform():
        made.houyi("up", "--detach")
        made.until(made.ready_hosts)
        (made.state / "build").mkdir(mode=0o700, exist_ok=True)
        (made.state / "build" / TREE).symlink_to(built / TREE)
        made.houyi("image", "import", "bench", "--file", str(built / "bench.qcow2"))
        yield made
        made.houyi("down")


def left(machine: Platform) -> dict[str, object]:
    """What a run could leave on the host."""
    return {
        "vms": machine.vms(),
        "networks": machine.host.inside("ip", "netns", "list"),
        "cards": [line for line in machine.host.inside("ip", "-o", "link").splitlines() if "bench-" in line],
        "groups": [str(path) for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")) for path in root.glob("bench-*")],
        "mounts": [mount for mount in machine.mounts() if "bench" in mount],
        "folders": [path.name for path in (machine.state / "build").iterdir() if path.name.startswith("bench-") and path.name != TREE],
        "labels": machine.look("/v1/hosts")["items"][0]["labels"],
        "programs": [line for line in machine.processes().values() if "sockperf" in line or "sysbench" in line or "fio " in line],
    }


def test_three_places_are_compared_and_a_browser_draws_all_of_it(machine: Platform, tmp_path: Path) -> None:
    before = left(machine)
    words = ("--compare", ",".join(PLACES), "--only", ",".join(NAMES), "--seconds", "1", "--rounds", "3", "--memory", "192M", "--vcpus", "1")
    ran = machine.houyi("bench", "run", *words, "--out", str(tmp_path / "report"), seconds=300)
    assert left(machine) == before
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert [place["name"] for place in report["places"]] == list(PLACES)
    assert [one["error"] for one in report["samples"] if one["error"]] == []
    assert {(one["benchmark"], one["place"], one["round"]) for one in report["samples"]} == {(n, p, r) for n in NAMES for p in PLACES for r in (1, 2, 3)}
    assert all(one["measured"]["value"] > 0 for one in report["samples"])
    by = {(one["benchmark"], one["place"]): one for one in report["comparisons"]}
    assert by["syscall", "vm"]["standing"] == "worse", "an emulated CPU takes many times as long"
    assert by["syscall", "vm"]["high"] < 0.5 < by["syscall", "container"]["ratio"], by
    assert "emulat" in report["emulated"]
    assert not report["exits"]
    assert "TCG" in report["exits_why"]
    assert "syscall" in ran.stdout
    seen = look(tmp_path / "report/report.html", tmp_path)
    assert seen["title"] == "Evaluation: machine, container, vm"
    assert len(seen["images"]) == 1 + len(NAMES), "one of all ratios, and one a group"
    assert all(image["width"] > 300 and image["shown"] > 100 and image["colours"] > 10 for image in seen["images"]), seen["images"]
    assert seen["loaded"] == [], "a report is whole in itself"


@pytest.mark.parametrize("signal", ["INT", "TERM"])
def test_a_run_that_is_interrupted_leaves_nothing(machine: Platform, tmp_path: Path, signal: str) -> None:
    before = left(machine)
    words = ("bench", "run", "--compare", "machine,container", "--only", "cpu", "--seconds", "60", "--out", str(tmp_path / "none"))
    environment = [f"{name}={value}" for name, value in machine.environment.items()]
    argv = inside(machine.host.init_pid, "env", "-i", *environment, sys.executable, "-m", "houyi", *words)
    with (tmp_path / "said").open("w") as said, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as running:
        (pid,) = machine.until(
            lambda: [pid for pid, line in machine.processes().items() if "sysbench cpu" in line and "sysbench" in line.split()[0]][:1], seconds=60
        )
        assert pid
        assert left(machine) != before
        (command,) = [pid for pid, line in machine.processes().items() if "-m houyi bench run" in line]
        machine.host.inside("kill", f"-{signal}", str(command))
        assert running.wait(30) == 130, (tmp_path / "said").read_text()
    assert left(machine) == before
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_is_said_and_nothing_is_made(machine: Platform, tmp_path: Path) -> None:
    before = left(machine)
    refused = machine.houyi("bench", "run", "--compare", "machine,vm:unheard-of", "--only", "syscall", "--out", str(tmp_path / "none"), code=None)
    assert refused.returncode != 0
    assert "profile_unknown" in refused.stderr, refused.stderr
    assert left(machine) == before
    assert not (tmp_path / "none").exists()
