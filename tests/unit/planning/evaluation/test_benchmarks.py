"""The suite as a list: well-formed, whole commands, and what of it is run."""

import pytest

from houyi.host.build import bench
from houyi.model.errors import Invalid, NotFound
from houyi.model.evaluation import Place, PlaceKind, places_of
from houyi.planning.evaluation.benchmarks import BENCHMARKS, BOOT, SCRIPTS, Benchmark, chosen

WORDS = {"seconds": "3", "cpus": "2", "scratch": "/var/bench", "peer": "10.0.0.1", "port": "7000"}


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_a_benchmark_is_whole(benchmark: Benchmark) -> None:
    command = benchmark.command(WORDS)
    assert not any("{" in word or "}" in word for word in command)
    assert f"usr/bin/{command[0]}" in [f"usr/bin/{name}" for name in bench._PROGRAMS], "it is in the tree"
    assert any("3" in word for word in command), "it runs for as long as it is told"
    for text in (benchmark.group, benchmark.unit, benchmark.work, benchmark.shows):
        assert text.strip()
    assert bool(benchmark.server) is ("{peer}" in benchmark.argv), "who speaks to a server has one"
    assert all(word.startswith(f"{SCRIPTS}/") for word in command if word.endswith(".lua"))


def test_names_are_unique_and_no_boot_is_among_them() -> None:
    names = [one.name for one in BENCHMARKS]
    assert len(set(names)) == len(names)
    assert BOOT not in names


def test_what_the_issue_asks_for_is_measured() -> None:
    assert {one.name for one in BENCHMARKS} >= {
        *("cpu", "memory-bandwidth", "memory-latency", "memory-translation", "syscall", "context-switch", "ipi", "wake-up", "timer"),
        *("disk-read", "disk-write", "net-latency"),
    }


def test_what_is_chosen() -> None:
    assert [one.name for one in chosen("syscall, cpu", quick=False, cpus=2)] == ["cpu", "syscall"]
    assert chosen("", quick=False, cpus=2) == BENCHMARKS
    assert {one.name for one in BENCHMARKS} - {one.name for one in chosen("", quick=False, cpus=1)} == {"cpu-all", "ipi"}
    assert 2 <= len(chosen("", quick=True, cpus=2)) <= 4
    assert chosen(BOOT, quick=False, cpus=2) == ()
    with pytest.raises(NotFound) as unknown:
        chosen("cpu,frobnicate", quick=False, cpus=2)
    assert unknown.value.code == "benchmark_not_found"


def test_places() -> None:
    found = places_of("machine, container,vm,vm:latency,vm")
    assert [place.name for place in found] == ["machine", "container", "vm", "vm:latency"]
    assert found[-1] == Place(PlaceKind.VM, "latency")


@pytest.mark.parametrize("text", ["", "machine,", "metal", "machine:latency", "vm:", "container:x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        places_of(text)
    assert refused.value.code == "place_unknown"
