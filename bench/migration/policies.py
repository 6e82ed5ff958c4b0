"""What other platforms do with a live move that is under way, as their projects document it. Pure: a policy is asked with each look, and says what to turn.

Only what is documented or plainly to be read in the projects' public sources was taken, as facts; no code. docs/BENCHMARKS.md names the sources.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

QEMU_DOWNTIME_MS = 300.0
"""What QEMU and libvirt begin with when nobody says anything."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the move."""

    seconds: float
    """Since it began."""
    remaining_mib: float
    sent_mib: float
    postcopy: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """What a policy does at a look."""

    downtime_ms: float | None = None
    postcopy: bool = False
    abort: str = ""
    """Why it gives up."""


NOTHING = Act()


class Policy(Protocol):
    auto_converge: bool
    """Whether QEMU may slow the guest by its own rules (20 %, then 10 % more each time that it finds that it does not converge, up to 99 %)."""
    postcopy: bool
    """Whether post-copy may be begun."""
    xbzrle: bool
    """Whether pages that were sent before are sent as differences."""
    look_seconds: float
    """Between two looks."""
    first_downtime_ms: float

    def look(self, seen: Seen) -> Act: ...


@dataclass
class Plain:
    """`virsh migrate --live`: nobody looks on."""

    auto_converge: bool = False
    postcopy: bool = False
    xbzrle: bool = False
    look_seconds: float = 0.5
    first_downtime_ms: float = QEMU_DOWNTIME_MS

    def look(self, seen: Seen) -> Act:
        return NOTHING


def nova_steps(gib: float, downtime_ms: float = 500.0, steps: int = 10, delay_seconds: float = 75.0) -> Iterator[tuple[float, float]]:
    """(seconds, ms): from a tenth of the downtime to the whole, in even steps; the wait between two grows with what is to be sent."""
    first = downtime_ms / steps
    for number in range(steps + 1):
        yield number * delay_seconds * gib, first + number * (downtime_ms - first) / steps


@dataclass
class Nova:
    """live_migration_downtime (500), _steps (10), _delay (75 s a GiB), live_migration_completion_timeout (800 s a GiB), then abort, or post-copy where that is permitted
    and the timeout's action is force_complete."""

    gib: float
    patience: float = 1.0
    """What their waits are multiplied with."""
    auto_converge: bool = False
    postcopy: bool = False
    xbzrle: bool = False
    look_seconds: float = 0.5
    _downtime_ms: float = 0.0
    _steps: Sequence[tuple[float, float]] = ()

    def __post_init__(self) -> None:
        self._steps = tuple((at * self.patience, ms) for at, ms in nova_steps(self.gib))
        self._downtime_ms = self.first_downtime_ms

    @property
    def first_downtime_ms(self) -> float:
        return self._steps[0][1]

    def look(self, seen: Seen) -> Act:
        timeout = 800.0 * self.gib * self.patience
        if seen.seconds > timeout:
            if self.postcopy:
                return NOTHING if seen.postcopy else Act(postcopy=True)
            return Act(abort=f"not completed after {timeout:.0f} s")
        due = [ms for at, ms in self._steps if seen.seconds > at]
        if not due or due[-1] == self._downtime_ms:
            return NOTHING
        self._downtime_ms = due[-1]
        return Act(downtime_ms=self._downtime_ms)


@dataclass
class KubeVirt:
    """completionTimeoutPerGiB (800), progressTimeout (150 s without a new least of what remains), then abort; allowPostCopy switches at the completion timeout instead."""

    gib: float
    patience: float = 1.0
    auto_converge: bool = False
    postcopy: bool = False
    xbzrle: bool = False
    look_seconds: float = 0.4
    first_downtime_ms: float = QEMU_DOWNTIME_MS
    _least_mib: float = float("inf")
    _progressed: float = 0.0

    def look(self, seen: Seen) -> Act:
        if seen.postcopy:
            return NOTHING
        if seen.remaining_mib < self._least_mib:
            self._least_mib, self._progressed = seen.remaining_mib, seen.seconds
        if seen.seconds > 800.0 * self.gib * self.patience:
            return Act(postcopy=True) if self.postcopy else Act(abort=f"not completed after {800.0 * self.gib * self.patience:.0f} s")
        stuck = seen.seconds - self._progressed
        return Act(abort=f"stuck for {stuck:.0f} s") if stuck > 150.0 * self.patience else NOTHING


@dataclass
class Proxmox:
    """migrate_downtime (100 ms) is doubled, without an end, whenever it was seen six times that more remained than at the look before (a new round had begun).
    It looks each second, and ten times a second once less remains than is sent between two looks. auto-converge and XBZRLE are on."""

    auto_converge: bool = True
    xbzrle: bool = True
    postcopy: bool = False
    look_seconds: float = 1.0
    first_downtime_ms: float = 100.0
    _downtime_ms: float = 100.0
    _looks: int = 0
    _grew: int = 0
    _last: Seen | None = field(default=None)

    def look(self, seen: Seen) -> Act:
        self._looks += 1
        last, self._last = self._last, seen
        if last is None or seen.sent_mib == last.sent_mib:
            return NOTHING
        if seen.remaining_mib < last.sent_mib / self._looks:
            self.look_seconds = 0.1
        if seen.remaining_mib > last.remaining_mib or not seen.remaining_mib:
            self._grew += 1
        if self._grew <= 5:
            return NOTHING
        self._grew, self._downtime_ms = 0, self._downtime_ms * 2
        return Act(downtime_ms=self._downtime_ms)


def others(gib: float, patience: float) -> Mapping[str, Callable[[], Policy]]:
    """By name; each move begins with a fresh one. :param gib: the guest's memory. :param patience: what waits by the size of the guest are multiplied with."""
    return {
        "virsh": Plain,
        "Nova": lambda: Nova(gib, patience),
        "Nova, auto-converge": lambda: Nova(gib, patience, auto_converge=True),
        "Nova, post-copy": lambda: Nova(gib, patience, postcopy=True),
        "KubeVirt": lambda: KubeVirt(gib, patience),
        "KubeVirt, auto-converge": lambda: KubeVirt(gib, patience, auto_converge=True),
        "KubeVirt, post-copy": lambda: KubeVirt(gib, patience, postcopy=True),
        "Proxmox": Proxmox,
    }
