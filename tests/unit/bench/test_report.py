"""What is made of a run: who was quickest among those who brought the guest over, and how the promises were kept."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from migration.records import Record, read
from migration.report import FIGURES, forecasts_svg, goals, learned, svg, table, verdicts


def moved(policy: str, seconds: float, **more: Any) -> Record:
    given: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, 0)
    given |= {"policy": policy, "rate": 80.0, "failed": "", "seconds": seconds, "elapsed": seconds, "mode": "", "foretold": None}
    return Record(**(given | more))


OTHERS = [
    moved("slow & steady", 9.0),
    moved("slow & steady", 9.5),
    moved("gives up", 1.0),
    moved("gives up", 1.0, failed="aborted"),
    moved("x, post-copy", 2.0),
]


def test_the_best_other_is_the_quickest_that_always_arrived() -> None:
    assert "takes 0.32 of the time of the best other, slow & steady (quicker)" in verdicts([*OTHERS, moved("ours", 3.0), moved("ours", 3.0)])
    assert "(no difference beyond the spread)" in verdicts([*OTHERS, moved("ours", 9.4)])
    assert "(slower)" in verdicts([*OTHERS, moved("ours", 20.0)])
    assert "none of the others ends each move" in verdicts([moved("x", 1.0, failed="no"), moved("ours", 1.0)])
    assert "best other, x, post-copy (slower)" in verdicts([*OTHERS, moved("ours, post-copy", 3.0)], "ours, post-copy")


def test_a_failed_move_is_counted_and_its_stop_is_not() -> None:
    lines = table([*OTHERS, moved("ours", 3.0, gap_ms=70.0)]).splitlines()
    assert "| 80 | gives up | 1 of 2 | 1.0 (1.0 to 1.0) | 0 (0 to 0) | 0 | 0 (0 to 0) | 0 % | 0.0 |" in lines
    assert lines[-1] == "| 80 | ours | 1 of 1 | 3.0 | 0 | 0 | 70 | 0 % | 0.0 |"


def test_goals() -> None:
    ours = [moved("ours", 4.0, gap_ms=gap, foretold={"seconds": told}) for gap, told in [(100.0, 9.0)] * 10 + [(299.0, 5.0), (301.0, 5.1)]]
    told = goals([*OTHERS, *ours])
    assert "12 of 12" in told
    assert "gap within 300 ms: 11 of 12" in told
    assert "after 10 moves of the guest: 1 of 2" in told


def test_forecasts_are_counted_after_ten_moves_of_each_guest() -> None:
    ours = [moved("ours", 4.0, rate=rate, foretold={"seconds": 4.0}) for rate in (16.0, 80.0) for _ in range(11)]
    assert [one.rate for one in learned(ours)] == [16.0, 80.0]


def test_plots_are_well_formed(tmp_path: Path) -> None:
    records = [*OTHERS, moved("ours", 3.0, gap_ms=70.0, foretold={"seconds": 3.3})]
    for figure in FIGURES.values():
        assert len(list(ET.fromstring(svg(records, figure)).iter("{http://www.w3.org/2000/svg}circle"))) == len(records)
    assert len(list(ET.fromstring(forecasts_svg(records)).iter("{http://www.w3.org/2000/svg}circle"))) == 1
    assert read_back(records, tmp_path) == records


def read_back(records: list[Record], folder: Path) -> list[Record]:
    import json
    from dataclasses import asdict

    (folder / "r").write_text("".join(json.dumps(asdict(one)) + "\n" for one in records))
    return read(folder / "r")
