"""What is written down of each move: a line of JSON."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One move, as it is written down."""

    policy: str
    rate: float
    """MiB/s that the guest is set to write."""
    pace_mib_s: float
    """What it did write in the second before the move."""
    round: int
    failed: str
    seconds: float
    elapsed: float
    """As libvirt tells."""
    sent_mib: float
    rounds: int
    downtime_ms: float
    gap_ms: float
    """Longest time between two beats."""
    rest_gap_ms: float
    """The same in the second before the move."""
    agent_gap_ms: float
    slowed: float
    """Share of its work that the guest did not do while it moved."""
    lost_seconds: float
    """That share as time."""
    after: float
    """Pace in the second after the move, by that before."""
    throttle: int
    mode: str
    foretold: dict[str, object] | None


def read(path: Path) -> list[Record]:
    return [Record(**json.loads(line)) for line in path.read_text().splitlines()]
