"""The door between two hosts, as the runner of a move needs it. `net_door.py` is the real one; the simulator has another without a network.

At the destination a door opens for one source and one move, when PREPARE says so, and shuts with WITHDRAW or after the move. At the source there is a
way through it: a UNIX socket that stands for the destination's libvirt.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from houyi.host.passages import Channel
from houyi.model.errors import HouyiError
from houyi.model.ids import HostId, MigrationId
from houyi.model.migration import Landing
from houyi.wire.door import DoorMessage, Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who may come in, for what."""

    move: MigrationId
    peer: HostId
    """The source; nobody else knocks with success."""
    libvirt: Callable[[], Awaitable[Channel]]
    """Opens this machine's libvirt for the move (`Passages.open`); its errors turn the knock away."""
    files: Callable[["Line"], Awaitable[None]]
    """Takes the files of a stopped VM; its errors are told to the source."""
    go: Callable[[], Awaitable[None]]
    """The guest has been given up at the source: run it. May be called again, and cancelled by `shut`. Its error (`withdrawn` ...) is told to the source."""
    broke: Callable[[HouyiError], None]
    """Why a connection of libvirt's that had come in was ended here (`call_refused`, `libvirt_away`): too late to tell the source, whose libvirt is speaking."""


class Line(Protocol):
    """Messages of `wire.door` both ways, once inside a door with files. :raise Unavailable: `door_lost`: the connection has broken."""

    async def say(self, message: DoorMessage) -> None: ...

    async def hear(self) -> Said: ...


@dataclass(slots=True)
class Way:
    """Through the destination's door."""

    path: Path
    """Of the UNIX socket, mode 0600, that stands for the destination's libvirt (`Mover.send`)."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when our libvirt has been told that the guest is whole at the destination: it will not resume its copy any more, so GO may be sent."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the destination cannot be reached any more."""
    problem: HouyiError | None = None
    """Why the destination's door did not let us in, or that it was lost, the last time; libvirt only says that its connection was closed."""


class Door(Protocol):
    async def admit(self, admission: Admission) -> tuple[str, int]:
        """Open for this move; (address, port) at which the source reaches it. Again: replaces what was admitted. :raise Failed: `door_closed`: it cannot listen."""
        ...

    async def shut(self, move: MigrationId) -> None:
        """Let nobody in any more for this move; when this returns, nothing that came in is still under way. Not open: nothing."""
        ...

    def way(self, move: MigrationId, peer: HostId, landing: Landing) -> AbstractAsyncContextManager[Way]:
        """Source: the socket is there as long as the context is. It dials the door anew for each connection."""
        ...

    def line(self, move: MigrationId, peer: HostId, landing: Landing, use: Literal["files", "line"] = "files") -> AbstractAsyncContextManager[Line]:
        """Source: inside the destination's door with the files of a stopped VM, or to measure the way. :raise Unavailable: `door_unreachable`. :raise Forbidden: with the destination's reason."""
        ...

    async def go(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        """Source: tell the destination GO; returns once the guest executes there. :raise Unavailable: `door_unreachable`: whether it went is not known. :raise Forbidden: it will not, with the destination's reason."""
        ...
