"""What every route works with, kept with the application: the control plane, the doors that it guards, what it counts."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from houyi.api.doorkeeper import Doorkeeper
from houyi.api.figures import Figures
from houyi.api.tunnels import Tunnels
from houyi.control.control import Control


@dataclass(frozen=True, slots=True)
class Desk:
    control: Control
    tunnels: Tunnels
    ca_fingerprint: str
    """Goes into join tokens: by it a host knows the right server."""
    doorkeeper: Doorkeeper
    figures: Figures
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server goes down: what would be answered for long ends."""


def desk_of(connection: HTTPConnection) -> Desk:
    desk = connection.app.state.desk
    assert isinstance(desk, Desk)
    return desk
