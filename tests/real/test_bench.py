"""The benchmark of moves runs: what it drives (an agent's attempt, doors, libvirt, a guest that beats) changes more often than it is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from house.tree import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


def test_it_moves_a_guest_that_plain_libvirt_does_not_bring_over(tmp_path: Path) -> None:
    out = tmp_path / "moves.jsonl"
    ran = subprocess.run(
        [sys.executable, "bench/migration", "--quick", "--out", str(out), "--plots", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert {one["policy"]: bool(one["failed"]) for one in records} == {"virsh": True, "ours": False}
    assert all(one["gap_ms"] > 0 and one["pace_mib_s"] > 0 for one in records)
    assert "gap within 300 ms" in ran.stdout
    assert (tmp_path / "migration-time.svg").read_text().startswith("<svg")
