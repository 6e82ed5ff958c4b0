"""Experiments for people: what was tried, what it says, and the page to keep."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from houyi.cli.experiment_report import page_of
from unit.cli.conftest import Houyi
from unit.cli.fake_api import EXPERIMENT, FakeApi, numbered

ID = numbered(21)
WHERE = f"/v1/experiments/{ID}"


def pictures(page: str) -> list[str]:
    return [base64.b64decode(found).decode() for found in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)]


def test_show_says_what_the_change_did(houyi: Houyi) -> None:
    said = houyi("tune", "show", ID).out
    for words in (
        "profile latency, x2apic=on",
        "14 of at most 34, 1 disturbed",
        "before every other run",
        "the VM keeps the change",
        "0.550 .. 0.630",
        "0.000 .. ?",
    ):
        assert words in said, words


def test_try_shows_the_verdict(houyi: Houyi) -> None:
    ran = houyi("tune", "try", "hello", "--profile", "latency", "--workload", "sh -c 'echo 5'", "--restart")
    assert ran.code == 0, ran.err
    assert "exits_per_work" in ran.out


def test_try_without_waiting_says_where_to_look(houyi: Houyi) -> None:
    assert f"houyi tune show {ID}" in houyi("tune", "try", "hello", "--profile", "latency", "--observe", "30s", "--no-wait").err


@pytest.mark.parametrize(
    "line",
    [
        ("--profile", "latency"),
        ("--profile", "latency", "--workload", "x", "--observe", "3s"),
        ("--knob", "x2apic", "--observe", "3s"),
        ("--knob", "x2apic=on", "--workload", "sh -c 'unclosed"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_asked(houyi: Houyi, api: FakeApi, line: tuple[str, ...]) -> None:
    assert houyi("tune", "try", "hello", *line).code == 2
    assert not api.asked


def test_words_for_a_shell_stay_together(houyi: Houyi, api: FakeApi) -> None:
    houyi("tune", "try", "hello", "--profile", "", "--workload", "sh -c 'echo 5; sleep 1'")
    assert api.last("POST").body["command"] == ["sh", "-c", "echo 5; sleep 1"]
    assert api.last("POST").body["profile"] == ""


def test_the_report_is_one_page_that_loads_nothing(houyi: Houyi, tmp_path: Path) -> None:
    ran = houyi("tune", "report", ID, "--out", str(tmp_path / "new" / "report"))
    assert ran.code == 0, ran.err
    page = (tmp_path / "new" / "report" / "report.html").read_text()
    assert json.loads((tmp_path / "new" / "report" / "experiment.json").read_text()) == EXPERIMENT
    assert len(pictures(page)) == 3
    for picture in pictures(page):
        assert fromstring(picture[picture.index("<svg") :]).tag.endswith("svg")
    assert not re.search(r'(src|href)="(?!data:)', page), "it loads nothing from anywhere"
    assert "Verdict: better." in page
    assert "no difference" in page


def test_a_report_of_what_has_only_begun(houyi: Houyi, api: FakeApi, tmp_path: Path) -> None:
    begun = {**EXPERIMENT, "verdict": None, "runs": [], "measures": [], "ended_at": None, "kept": False, "state": "measuring"}
    api.answer("GET", WHERE, (200, begun))
    assert houyi("tune", "report", ID, "--out", str(tmp_path)).code == 0
    page = (tmp_path / "report.html").read_text()
    assert pictures(page) == []
    assert "on trial" in page


def test_names_that_guests_and_users_choose_are_only_text() -> None:
    nasty = "<script>alert(1)</script>"
    effect = {**EXPERIMENT["verdict"]["effects"][0], "name": nasty}
    one: dict[str, Any] = {
        **EXPERIMENT,
        "vm_name": nasty,
        "command": [nasty],
        "verdict": {**EXPERIMENT["verdict"], "effects": [effect]},
        "runs": [{"arm": run["arm"], "values": {nasty: 1.0, f"reason:{nasty}_per_work": 2.0}} for run in EXPERIMENT["runs"]],
    }
    page = page_of(one).decode()
    assert "<script" not in page
    assert not any("<script" in picture for picture in pictures(page))


def test_a_folder_that_cannot_be_written(houyi: Houyi, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = houyi("tune", "report", ID, "--out", str(tmp_path / "file" / "x"))
    assert ran.code == 1
    assert "cannot write into" in ran.err
