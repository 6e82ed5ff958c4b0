"""The page of an evaluation: all plots are there and well-formed, failures are failures, and nothing comes from elsewhere."""

import base64
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from houyi.cli.evaluation_report import page_of, write_evaluation
from houyi.model.evaluation import BenchmarkFacts, Better, Comparison, Evaluation, ExitCount, Measured, PlaceFacts, PlaceKind, Sample, Standing

PLACES = ("machine", "container", "vm", "vm:latency")


def facts(name: str, group: str, better: Better = Better.LESS) -> BenchmarkFacts:
    return BenchmarkFacts(name=name, group=group, unit="us", better=better, work="thing", shows=f"what {name} <shows> & tells", command=f"{name} --time=1 run")


def sample(benchmark: str, place: str, number: int, value: float | None) -> Sample:
    return Sample(
        benchmark=benchmark,
        place=place,
        round=number,
        seconds=1.0,
        measured=None if value is None else Measured(value=value),
        error="" if value is not None else "fio: exit status 1: no <space> left",
    )


def compared(benchmark: str, place: str, **more: Any) -> Comparison:
    return Comparison(benchmark=benchmark, place=place, reference="machine", **more)


def report(**changes: Any) -> dict[str, Any]:
    whole = Evaluation(
        format=1,
        version="0.1.0",
        id="bench-1234",
        host="node1",
        began_at="2026-11-23T20:00:00Z",
        ended_at="2026-11-23T20:10:00Z",
        seed=1,
        seconds=1,
        rounds=3,
        quick=True,
        emulated="",
        machine={"CPU": "a <fast> one", "kernel parameters": "quiet"},
        reference="machine",
        places=tuple(
            PlaceFacts(
                name=name,
                kind=PlaceKind(name.partition(":")[0]),
                profile=name.partition(":")[2],
                cpus=2,
                memory_mib=512,
                what="a place",
                accelerator="kvm" if name.startswith("vm") else "",
                tuned={"x2apic": "on"} if ":" in name else {},
            )
            for name in PLACES
        ),
        benchmarks=(facts("cpu", "CPU", Better.MORE), facts("disk-read", "disk"), facts("disk-write", "disk"), facts("timer", "latencies")),
        samples=(
            *(sample("cpu", place, number, 100.0 + number) for place in PLACES for number in (1, 2, 3)),
            *(sample("disk-read", place, number, 60_000.0 + number if place != "vm" else None) for place in PLACES for number in (1, 2, 3)),
            *(sample("disk-write", place, number, 10.0 * number if number < 3 else None) for place in PLACES for number in (1, 2, 3)),
            *(sample("timer", place, number, None) for place in PLACES for number in (1, 2, 3)),
        ),
        comparisons=(
            *(compared("cpu", place, rounds=3, ratio=0.97, low=0.9, high=1.05, p=0.4, standing=Standing.NO_DIFFERENCE) for place in PLACES[1:]),
            compared("disk-read", "container", rounds=3, ratio=0.8, low=0.7, high=0.9, p=0.01, standing=Standing.WORSE),
            compared("disk-read", "vm", rounds=0),
            compared("disk-read", "vm:latency", rounds=3, ratio=1.4, low=1.2, high=1.6, p=0.01, standing=Standing.BETTER),
            *(compared("disk-write", place, rounds=2, ratio=1.1) for place in PLACES[1:]),
            *(compared("timer", place, rounds=0) for place in PLACES[1:]),
        ),
        exits=(
            ExitCount(benchmark="cpu", place="vm", exits_s=300.0, per_operation=0.01, reasons={"hlt": 0.006, "msr": 0.004}),
            ExitCount(benchmark="disk-read", place="vm", error="fio: exit status 1"),
        ),
        exits_why="",
    )
    made: dict[str, Any] = {**json.loads(json.dumps(asdict(whole))), **changes}
    return made


class Page(HTMLParser):
    """Every tag is closed in order; texts by tag."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def pictures(page: str) -> list[str]:
    return [base64.b64decode(found).decode() for found in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)]


def test_all_plots_are_there_and_nothing_comes_from_elsewhere() -> None:
    page = page_of(report()).decode()
    read = Page(page)
    drawn = pictures(page)
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert len(images) == len(drawn) == 1 + 2 + 1, "all ratios; CPU and disk, of latencies nothing was measured; exits"
    assert all(image["alt"] for image in images)
    assert all(fromstring(svg).tag.endswith("svg") for svg in drawn)
    assert not any(tag in ("script", "link", "iframe") for tag, _ in read.tags)
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_failure_is_shown_as_failed_and_never_as_0() -> None:
    page = page_of(report()).decode()
    cells = Page(page).cells
    assert cells.count("failed") >= 1 + len(PLACES), "disk-read in the VM, timer everywhere"
    assert "0" not in cells
    assert "15 (1 failed)" in cells
    assert "60,002" in cells
    assert "no &lt;space&gt; left" in page
    assert "Nothing was measured." in page
    assert "24 of" not in page
    assert "48, of which 19 failed" in cells


def test_what_is_said_of_differences() -> None:
    cells = Page(page_of(report()).decode()).cells
    assert "0.97 (0.9 .. 1.05) no difference" in cells
    assert "1.4 (1.2 .. 1.6) better" in cells
    assert "1.1 (too few rounds)" in cells


def test_an_emulated_machine_is_said_in_large_letters() -> None:
    assert 'class="warning"' not in page_of(report()).decode()
    page = page_of(report(emulated="the VMs ran under TCG")).decode()
    assert re.search(r'<p class="warning">EMULATED: the VMs ran under TCG. ONLY COUNTS AND RATIOS', page)


def test_why_no_exits_were_counted_is_said() -> None:
    page = page_of(report(exits=[], exits_why="the VMs were emulated")).decode()
    assert "None were counted: the VMs were emulated." in page
    assert len(pictures(page)) == 3


@pytest.mark.parametrize("places", [("machine",), ("vm",)])
def test_one_place_alone(places: tuple[str, ...]) -> None:
    whole = report()
    few = {
        "places": [place for place in whole["places"] if place["name"] in places],
        "samples": [one for one in whole["samples"] if one["place"] in places],
        "comparisons": [],
        "exits": [one for one in whole["exits"] if one["place"] in places],
        "reference": places[0],
    }
    assert len(pictures(page_of({**whole, **few}).decode())) >= 2


def test_both_files_are_written(tmp_path: Path) -> None:
    made = report()
    page = write_evaluation(made, tmp_path / "deep/folder")
    assert page.name == "report.html"
    assert json.loads((tmp_path / "deep/folder/report.json").read_text()) == made
