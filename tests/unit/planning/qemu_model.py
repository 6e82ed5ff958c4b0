"""Pre-copy as QEMU does it, in numbers: rounds over a guest that dirties a working set. For tests of what steers it."""

import math
from dataclasses import dataclass, field

from houyi.model.migration import Figures, Knobs


@dataclass
class Guest:
    memory_mib: float
    dirty_mib_s: float
    writes_mib: float
    line_mib_s: float
    downtime_ms: float = 100.0
    cap_mib_s: float = 0.0
    throttle: int = 0
    asked: int = 0
    """To throttle: it does so only at the end of a second round in which much was dirtied."""
    high: int = 0
    postcopy: bool = False
    done: bool = False
    seconds: float = 0.0
    rounds: int = 0
    left_mib: float = field(default=-1.0)

    @property
    def rate(self) -> float:
        return min(self.line_mib_s, self.cap_mib_s or self.line_mib_s)

    def turn(self, knobs: Knobs) -> None:
        self.downtime_ms = self.downtime_ms if knobs.downtime_ms is None else knobs.downtime_ms
        self.cap_mib_s = self.cap_mib_s if knobs.bandwidth_mib_s is None else knobs.bandwidth_mib_s
        self.asked = self.asked if knobs.throttle_percent is None else knobs.throttle_percent
        self.postcopy = self.postcopy or knobs.postcopy

    def round(self) -> Figures:
        """Send what is left; what was dirtied meanwhile is left then."""
        self.left_mib = self.memory_mib if self.left_mib < 0 else self.left_mib
        if self.postcopy or (self.rounds and self.left_mib / self.rate * 1000 <= self.downtime_ms):
            self.done = True
        takes = self.left_mib / self.rate
        self.seconds += takes
        dirty = self.dirty_mib_s * (1 - self.throttle / 100)
        self.left_mib = self.writes_mib * (1 - math.exp(-dirty * takes / self.writes_mib)) if dirty and self.writes_mib else 0.0
        self.rounds += 1
        self.high += self.left_mib > takes * self.rate / 2
        if self.high == 2:
            self.high, self.throttle = 0, max(self.throttle, self.asked)
        return Figures(
            elapsed_seconds=self.seconds,
            memory_total_mib=self.memory_mib,
            memory_remaining_mib=self.left_mib,
            rounds=self.rounds,
            dirty_mib_s=self.left_mib / takes if takes else 0.0,
            bandwidth_mib_s=self.rate,
            throttle_percent=self.throttle,
            postcopy=self.postcopy,
        )
