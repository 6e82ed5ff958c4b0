"""The way between two hosts: how much it carries, found out before anything moves over it, and again every day.

The server asks both ends as part of what is desired of them: the destination opens its door for that measurement, the source measures. Asked of one pair at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from houyi.model.errors import Problem
from houyi.model.ids import HostId, MigrationId


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRates:
    """What was measured, MiB/s, through encrypted connections of the agents: QEMU's own carry about as much."""

    one_mib_s: float
    """One connection."""
    all_mib_s: float
    """Several at once; never less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAsk:
    """What one end of a measurement is asked. Level-triggered: an end that hears it no more is done with it."""

    id: MigrationId
    """Unlike any move's: the door lets in who names it, as with a move."""
    peer: HostId
    source: bool
    """Whether this end measures; else it opens its door."""
    address: str = ""
    """Of the destination's door; empty: it has not opened it yet."""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAnswer:
    """What an end has to say to one."""

    id: MigrationId
    address: str = ""
    """Destination: where its door is open."""
    port: int = 0
    rates: LineRates | None = None
    """Source: what it has measured."""
    error: Problem | None = None
    """Why there is nothing else to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAsked:
    """One pair of hosts, as the server keeps it: when it was asked last, and what was said then. It stands for both directions."""

    id: MigrationId
    source: HostId
    destination: HostId
    asked_at: float
    open: bool
    answers: Mapping[HostId, LineAnswer]

    @property
    def rates(self) -> LineRates | None:
        """Of the last measurement, whenever that was."""
        said = self.answers.get(self.source)
        return None if said is None else said.rates

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to be heard: the source has measured, or one of the two cannot."""
        said = [answer for answer in self.answers.values() if answer.id == self.id]
        return any(answer.error is not None or answer.rates is not None for answer in said)
