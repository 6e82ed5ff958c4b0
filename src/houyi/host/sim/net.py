"""The network between simulated machines: links that can be cut, fall silent or be slow, and connections between the libvirts of two hosts.

A cut is heard of at once by both ends of a connection. Silence is heard of by nobody, until both ends give up after KEEPALIVE_SECONDS; if it ends earlier,
what was sent meanwhile arrives late. A connection leads from the way that the source's agent holds open to the door that the destination's agent holds open.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from houyi.host.sim.state import SimState
from houyi.model.errors import Unavailable
from houyi.model.ids import MigrationId, VmId

KEEPALIVE_SECONDS = 30.0
"""libvirt's own: six pings, five seconds apart."""
LATENCY_SECONDS = 0.02
"""One message from host to host. Long for a network, so that faults can fall in between."""


class Phase(StrEnum):
    """Where an attempt is. Each is told when it begins and takes a while, so that faults hit it."""

    BEGIN = "begin"
    PREPARE = "prepare"
    EARLY = "early"
    """Perform: the first bytes are on the line."""
    LATE = "late"
    """Perform: the guest is stopped at the source, the last bytes are on the line."""
    POSTCOPY = "postcopy"
    FINISH = "finish"
    """The source has asked the destination to finish."""
    FINISHED = "finished"
    """The destination has finished; its answer is on the line."""
    TOLD = "told"
    """The answer has reached the source, whose libvirtd has not acted on it yet."""
    CONFIRM = "confirm"
    """The source gives its copy up."""


class Link(StrEnum):
    UP = "up"
    CUT = "cut"
    SILENT = "silent"


Watch = Callable[[Phase, VmId], None]


@dataclass(slots=True, eq=False)
class SimRoad:
    """A way of one move from its source's agent, and what goes through it."""

    move: MigrationId
    source: str
    destination: str
    arrived: Callable[[], None]
    """Called when the answer that the guest has arrived passes."""
    holds: bool = False
    """The connection is lost while the source waits for an answer without GO: the agent keeps its libvirt waiting."""


@dataclass(slots=True, eq=False)
class SimConnection:
    """libvirt's connection of one attempt; each end has its own opinion of whether it is there."""

    road: SimRoad
    lost_at_source: asyncio.Event = field(default_factory=asyncio.Event)
    lost_at_destination: asyncio.Event = field(default_factory=asyncio.Event)

    def lose(self) -> None:
        self.lost_at_source.set()
        self.lost_at_destination.set()


class SimNet:
    """`bandwidth_mib_s` of every link; machines are known by their addresses."""

    def __init__(self, *, bandwidth_mib_s: float = 100.0) -> None:
        self.bandwidth_mib_s = bandwidth_mib_s
        self.machines: dict[str, SimState] = {}
        self.watch: Watch | None = None
        """Told of each phase of each attempt."""
        self._links: dict[frozenset[str], Link] = {}
        self._roads: dict[Path, SimRoad] = {}
        self._doors: dict[tuple[str, MigrationId], object] = {}
        self._connections: list[SimConnection] = []

    def link(self, one: str, other: str) -> Link:
        return self._links.get(frozenset({one, other}), Link.UP)

    def cut(self, one: str, other: str) -> None:
        self._links[frozenset({one, other})] = Link.CUT
        for connection in self._between(one, other):
            connection.lose()

    def silence(self, one: str, other: str) -> None:
        """A black hole: what is sent is lost, and nobody is told."""
        key = frozenset({one, other})
        self._links[key] = Link.SILENT
        connections = self._between(one, other)

        def give_up() -> None:
            if self._links.get(key) is Link.SILENT:
                for connection in connections:
                    connection.lose()

        asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, give_up)

    def heal(self) -> None:
        """Every link is up again; what is lost stays lost."""
        self._links.clear()

    def open_door(self, address: str, move: MigrationId, door: object) -> None:
        self._doors[address, move] = door

    def door(self, address: str, move: MigrationId) -> object:
        """Whoever has opened it; None: it is shut."""
        return self._doors.get((address, move))

    def doors(self, address: str) -> list[MigrationId]:
        """The moves for which they are open there."""
        return [move for where, move in self._doors if where == address]

    @property
    def roads(self) -> tuple[SimRoad, ...]:
        """The ways that are open."""
        return tuple(self._roads.values())

    def shut_door(self, address: str, move: MigrationId) -> None:
        """What came in through it is let go: the far end hears of it if it can."""
        self._doors.pop((address, move), None)
        self._let_go([one for one in self._connections if (one.road.destination, one.road.move) == (address, move)])

    def is_open(self, address: str, move: MigrationId) -> bool:
        return (address, move) in self._doors

    def open_road(self, path: Path, road: SimRoad) -> None:
        self._roads[path] = road

    def close_road(self, path: Path) -> None:
        road = self._roads.pop(path)
        road.holds = False
        self._let_go([one for one in self._connections if one.road is road])

    def connect(self, path: Path) -> SimConnection:
        """From the source's libvirt to the destination's. :raise Unavailable: it is not reached."""
        road = self._roads.get(path)
        if road is None or self.link(road.source, road.destination) is not Link.UP or not self.is_open(road.destination, road.move):
            raise Unavailable("door_unreachable", "the connection to the destination's libvirt was closed")
        if not self.machines[road.destination].connected:
            raise Unavailable("libvirt_away", "the destination's libvirt does not answer")
        self._connections = [one for one in self._connections if not (one.lost_at_source.is_set() and one.lost_at_destination.is_set())]
        connection = SimConnection(road)
        self._connections.append(connection)
        return connection

    def _between(self, one: str, other: str) -> list[SimConnection]:
        return [each for each in self._connections if {each.road.source, each.road.destination} == {one, other}]

    def _let_go(self, connections: list[SimConnection]) -> None:
        """Each end hears of it at once, unless the link is silent: then the far end does later."""
        for connection in connections:
            road = connection.road
            if self.link(road.source, road.destination) is Link.SILENT:
                near = connection.lost_at_source if self.is_open(road.destination, road.move) else connection.lost_at_destination
                near.set()
                asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, connection.lose)
            else:
                connection.lose()
