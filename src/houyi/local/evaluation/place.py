"""A place where benchmarks run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from houyi.model.evaluation import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a program said, and how it ended."""

    code: int
    text: str
    """Its output, and after it its complaints: tools do not agree on where figures belong."""
    complaint: str


class Venue(Protocol):
    """One place, open: something runs in it until it is closed, whatever happens."""

    place: Place
    scratch: str
    """A folder on the place's disk, as programs see it."""

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        """Run a program to its end. :raise Failed: it did not end within `seconds`, or could not be started."""

    async def boot(self) -> float | None:
        """Begin anew, and how many seconds that took; None: this place cannot."""

    async def peer(self) -> str:
        """An address of this machine as programs in the place reach it. :raise Failed: there is none."""

    async def close(self) -> None:
        """Leave nothing of it."""
