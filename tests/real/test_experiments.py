"""Experiments on a real guest, through the CLI as its user runs it: its work is run by its own agent and measured from outside, and it ends as it began."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from real.platform import Platform, platform

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

NAME = "one"
BOOT_SECONDS = 300
WORK = """sh -c 'n=0; while [ $n -lt 3000 ]; do n=$((n+1)); done; echo "{\\"work\\": $n, \\"latency_us\\": {\\"p99\\": 7}}"'"""
"""Its time varies under TCG on a machine that others use; what it does never."""


@pytest.fixture(scope="module")
def machine(tiny_image: Path) -> Iterator[Platform]:
    for made in platform():
        made.houyi("up", "--detach")
        made.until(made.ready_hosts)
        made.houyi("image", "import", "tiny", "--file", str(tiny_image))
        made.houyi("vm", "create", NAME, "--image", "tiny", "--vcpus", "1", "--memory", "128M", "--disk", "1G", "--wait-for", "guest", seconds=BOOT_SECONDS)
        yield made
        made.houyi("down")


def tried(machine: Platform, *words: str) -> Any:
    return json.loads(machine.houyi("tune", "try", NAME, "--settle", "0s", "--runs", "14", *words, "-o", "json", seconds=600).stdout)


def test_a_workload_is_measured_and_the_settings_are_as_they_were(machine: Platform, tmp_path: Path) -> None:
    one = tried(machine, "--knob", "io_poll_ns=40000", "--workload", WORK)
    assert (one["state"], one["kept"], one["runs_made"], one["error"]) == ("done", False, 14, None)
    assert [run["arm"] for run in one["runs"]] == ["before", "after", *["before", "after", "after", "before"] * 3]
    assert {measure["name"] for measure in one["measures"]} >= {"cpu_per_work", "work_per_second", "latency_us:p99"}
    for run in one["runs"]:
        assert run["values"]["said:work"] == 3000
        assert 0 < run["values"]["cpu"] < 4, "QEMU has worked while the guest did"
    told = {effect["name"]: effect for effect in one["verdict"]["effects"]}
    assert told["latency_us:p99"]["verdict"] == "no_difference", "it is always 7"
    assert (told["latency_us:p99"]["ratio"], told["latency_us:p99"]["before"]) == (pytest.approx(1.0), pytest.approx(7.0))
    assert not machine.vm(NAME).get("knobs")
    machine.houyi("tune", "report", str(one["id"]), "--out", str(tmp_path / "report"))
    assert b"<h1>" in (tmp_path / "report" / "report.html").read_bytes()


def test_a_workload_that_fails_says_why(machine: Platform) -> None:
    for command, words in (("/no/such/program", "guest_run_refused"), ("sh -c 'echo because >&2; exit 4'", "because")):
        ran = machine.houyi("tune", "try", NAME, "--knob", "io_poll_ns=40000", "--settle", "0s", "--workload", command, code=1, seconds=300)
        assert words in ran.stderr, ran.stderr
    assert machine.ask("vm", "show", NAME)["state"] == "running"


def test_cancelled_in_the_middle_it_runs_with_what_it_had(machine: Platform) -> None:
    machine.houyi("tune", "try", NAME, "--knob", "hpet=on", "--restart", "--observe", "2s", "--settle", "0s", "--no-wait")
    (one,) = machine.ask("tune", "experiments", "--open")
    where = f"/v1/experiments/{one['id']}"
    machine.until(lambda: (machine.look(where) or {}).get("runs_made", 0) >= 2, seconds=BOOT_SECONDS)
    assert "hpet" in json.dumps(machine.look(where)["change"])
    machine.houyi("tune", "cancel", str(one["id"]))
    machine.until(lambda: (machine.look(where) or {}).get("state") == "cancelled", seconds=BOOT_SECONDS)
    machine.until(lambda: machine.vm(NAME)["state"] == "running", seconds=BOOT_SECONDS)
    assert not machine.vm(NAME).get("knobs")
