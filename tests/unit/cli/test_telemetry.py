"""`houyi vm top` and `houyi vm exits`, as people see them."""

from pathlib import Path

import pytest

from houyi.cli.telemetry import nanoseconds, number
from unit.cli.conftest import Houyi
from unit.cli.fake_api import EXITS, HISTORY, LATENCY, PERIOD, FakeApi

TCG = {**PERIOD, "kvm": False, "exits_s": 0.0, "exits": {}, "vm_name": "slow"}


def test_top_shows_what_hosts_counted(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/telemetry", (200, {"items": [TCG, {**PERIOD, "cpu": 1.5}]}))
    heading, first, second = houyi("vm", "top", "--host", "node1").out.splitlines()
    assert api.last("GET").params == {"host": "node1"}
    assert heading.split()[:9] == ["NAME", "HOST", "CPU", "STEAL", "EXITS/S", "HALT", "IO", "MMIO", "IRQ"]
    assert first.split() == ["hello", "node1", "150%", "1.2%", "4321", "1234", "12.5", "0", "0", "300", "MiB", "2", "MiB", "-", "1", "MiB", "-", "3"]
    assert second.split()[:6] == ["slow", "node1", "50%", "1.2%", "-", "-"], "no exits is another thing than none counted"


@pytest.mark.parametrize(("order", "names"), [("cpu", "ab"), ("exits", "ba"), ("steal", "ba"), ("name", "ab")])
def test_top_is_sorted(houyi: Houyi, api: FakeApi, order: str, names: str) -> None:
    b = {**PERIOD, "vm_name": "b", "cpu": 0.1, "exits_s": 9999.0, "delay": 0.5}
    api.answer("GET", "/v1/telemetry", (200, {"items": [b, {**PERIOD, "vm_name": "a"}]}))
    assert "".join(one["vm_name"] for one in houyi("vm", "top", "--sort", order, "-o", "json").json) == names


def test_top_of_nothing(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/telemetry", (200, {"items": []}))
    ran = houyi("vm", "top")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing was counted" in ran.err


def test_exits_now_and_over_history(houyi: Houyi) -> None:
    lines = [line.split() for line in houyi("vm", "exits", "hello").out.splitlines()]
    assert lines[0] == ["COUNTED", "NOW", "MEAN", "MOST", "UNIT"]
    assert ["exits", "4321", "2161", "4321", "/s"] in lines
    assert ["halt_exits", "1234", "617", "1234", "/s"] in lines
    assert ["halt_poll_success_ns", "250k", "125k", "250k", "ns/s"] in lines
    assert ["steal", "0.01", "0.01", "0.01", "share"] in lines


def test_under_tcg_it_is_said(houyi: Houyi, api: FakeApi) -> None:
    api.answer("GET", "/v1/vms/hello/telemetry", (200, {**HISTORY, "items": [TCG]}))
    ran = houyi("vm", "exits", "hello")
    assert "hello runs under TCG: there are no VM exits" in ran.err
    assert "cpu" in ran.out
    api.answer("GET", "/v1/vms/hello/telemetry", (200, {**HISTORY, "items": []}))
    assert "nothing was counted" in houyi("vm", "exits", "hello").err


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_exits_are_drawn(houyi: Houyi, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"exits.{suffix}"
    ran = houyi("vm", "exits", "hello", "--plot", str(file), "--since", "2h")
    assert ran.code == 0, ran.err
    assert file.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert houyi("vm", "exits", "hello", "--plot", str(tmp_path / "exits.doc")).code == 2


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.0, 0.25, 9.99, 12.54, 99.96, 340.0, 99_950.0, 1_234_567.0)] == [
        "0",
        "0.25",
        "9.99",
        "12.5",
        "100",
        "340",
        "100k",
        "1235k",
    ]


def test_exits_by_reason(houyi: Houyi, api: FakeApi, tmp_path: Path) -> None:
    ran = houyi("vm", "exits", "hello", "--by-reason", "--seconds", "5", "--plot", str(tmp_path / "reasons.png"))
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[:3] == [
        ["REASON", "EXITS", "/S", "OUTSIDE", "MEAN"],
        ["hlt", "1000", "200", "3.0", "s", "3.0", "ms"],
        ["msr", "500", "100", "425.0", "µs", "850", "ns"],
    ]
    assert ["write", "tsc_deadline", "400", "80"] in lines
    assert "1500 exits in 5.00 s, 300 a second (svm)" in ran.err
    assert "warning" not in ran.err
    assert (tmp_path / "reasons.png").read_bytes().startswith(b"\x89PNG")
    api.answer("POST", "/v1/vms/hello/exits", (200, {**EXITS, "dropped": 7, "registers": []}))
    assert "7 exits of the host found no place" in houyi("vm", "exits", "hello", "--by-reason").err
    assert api.last("POST").body == {"seconds": 10.0}
    api.refuse("POST", "/v1/vms/hello/exits", 409, "no_vm_exits", "hello runs under TCG: there are no VM exits")
    refused = houyi("vm", "exits", "hello", "--by-reason")
    assert (refused.code, "there are no VM exits" in refused.err) == (4, True)


def test_how_long_disks_take(houyi: Houyi, api: FakeApi, tmp_path: Path) -> None:
    ran = houyi("vm", "latency", "hello", "--seconds", "5", "--histogram", "--plot", str(tmp_path / "disks.png"))
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[:2] == [
        ["DISK", "KIND", "REQUESTS", "/S", "P50", "P90", "P99", "AT", "MOST"],
        ["vda", "writes", "100", "20", "62.5", "µs", "900.0", "µs", "6.0", "s", "more"],
    ]
    assert ["vda", "writes", "100.0", "µs", "80"] in lines
    assert ["vda", "writes", "more", "2"] in lines
    assert (tmp_path / "disks.png").read_bytes().startswith(b"\x89PNG")
    api.answer("POST", "/v1/vms/hello/latency", (200, {**LATENCY, "requests": []}))
    idle = houyi("vm", "latency", "hello", "--plot", str(tmp_path / "idle.png"))
    assert (idle.out, "asked nothing of its disks in 5 s" in idle.err) == ("", True)
    assert api.last("POST").body == {"seconds": 10.0}


def test_times_are_short() -> None:
    assert [nanoseconds(value) for value in (0, 850, 12_500, 3_100_000, 2e9)] == ["0 ns", "850 ns", "12.5 µs", "3.1 ms", "2.0 s"]
