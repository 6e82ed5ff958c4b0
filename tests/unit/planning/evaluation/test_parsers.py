"""What programs really printed (said/, of the tree that `houyi image build bench` makes) is read; what they did not print is no figure."""

import re
from pathlib import Path

import pytest

from houyi.planning.evaluation.benchmarks import BENCHMARKS, CALLS, STEPS, Benchmark
from houyi.planning.evaluation.parsers import positive

SAID = Path(__file__).with_name("said")
CHASE = Path(__file__).parents[4] / "src/houyi/host/build/bench_files"


def said(benchmark: str) -> str:
    return (SAID / f"{benchmark}.txt").read_text()


EXPECTED = {
    "cpu": (42843.19, 42843.19),
    "cpu-all": (83586.79, 83586.79),
    "memory-bandwidth": (21990.70, 21990.70),
    "syscall": (223.1465710443747, 1e9 / 223.1465710443747),
    "context-switch": (188368.0, 188368.0),
    "ipi": (2763.04, 2763.04),
    "wake-up": (6.335, 2557.0),
    "timer": (25.61, 1000.0),
    "disk-read": (1e6 / 14048.951049, 14048.951049),
    "disk-write": (1e6 / 7918.081918, 7918.081918),
    "net-latency": (19.36, 51589.09),
    "net-throughput": (15884.1156, 15884.1156e6 / 8 / 1024),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_figure_is_read(name: str) -> None:
    (benchmark,) = (one for one in BENCHMARKS if one.name == name)
    found = benchmark.parse(said(name))
    assert (found.value, found.work_s) == (pytest.approx(EXPECTED[name][0], rel=1e-4), pytest.approx(EXPECTED[name][1], rel=1e-4))


def test_every_benchmark_was_tried() -> None:
    assert {path.stem for path in SAID.iterdir()} == {one.name for one in BENCHMARKS}
    assert all(one.parse(said(one.name)).value > 0 for one in BENCHMARKS)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
@pytest.mark.parametrize("text", ["", "bash: stress-ng: not found\n", "{}", "{", "[1]", '{"thread": {"0": null}, "jobs": [{}]}'])
def test_what_is_not_there_is_no_figure(benchmark: Benchmark, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        benchmark.parse(text)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_nothing_measured_is_no_figure(benchmark: Benchmark) -> None:
    """All figures 0, as a program prints them that was stopped before it began."""
    nothing = re.sub(r"(?<![\w.-])\d+(\.\d+)?(?!\w)", "0", said(benchmark.name))
    with pytest.raises(ValueError, match=r"."):
        benchmark.parse(nothing)


def test_percentiles_come_along() -> None:
    by_name = {one.name: one.parse(said(one.name)).also for one in BENCHMARKS}
    assert by_name["timer"] == {"max_us": 605.0, "p99_us": 42.0}
    assert by_name["disk-read"]["p99_us"] == pytest.approx(152.576)
    assert by_name["net-latency"]["p99_us"] == pytest.approx(52.778)
    assert by_name["wake-up"]["max_us"] == 3414.0


def test_what_a_program_complains_of_is_said() -> None:
    (iperf3,) = (one for one in BENCHMARKS if one.name == "net-throughput")
    with pytest.raises(ValueError, match="unable to connect"):
        iperf3.parse('{"start": {}, "end": {}, "error": "unable to connect to server: Connection refused"}')
    (fio,) = (one for one in BENCHMARKS if one.name == "disk-read")
    with pytest.raises(ValueError, match="error 5"):
        fio.parse('fio: io_u error\n{"jobs": [{"error": 5, "read": {"iops": 100}}]}')


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), None, "7", True])
def test_only_numbers_above_0(value: object) -> None:
    with pytest.raises(ValueError, match="not a number above 0"):
        positive(value, "figure")


def test_our_scripts_do_as_many_operations_an_event_as_we_count() -> None:
    assert f"local STEPS = {STEPS} " in (CHASE / "chase.lua").read_text()
    assert f"local CALLS = {CALLS} " in (CHASE / "syscall.lua").read_text()
