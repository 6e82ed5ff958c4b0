"""The kernel's pressure-stall information."""

from pathlib import Path

from houyi.host.probe.pressure import pressure, stalled


def test_totals_are_seconds(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("some avg10=10.54 avg60=8.73 avg300=6.98 total=14222739519\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    (tmp_path / "io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nnonsense\n")
    assert pressure(tmp_path) == {"cpu_some": 14222.739519, "cpu_full": 0.0, "io_some": 0.25}
    assert stalled(tmp_path) == {"cpu_some": 0.1054, "cpu_full": 0.0, "io_some": 0.0}
    assert pressure(tmp_path / "none") == {}
    assert stalled(tmp_path / "none") == {}
