"""A connection that carries whole messages: what the link needs of a websocket. The simulator has one without a network."""

from typing import Literal, Protocol


class Socket(Protocol):
    """:raise websockets.ConnectionClosed: by `recv` and `send`, once either end has closed it or the network is gone."""

    async def recv(self, decode: Literal[False]) -> bytes: ...
    async def send(self, message: bytes) -> None: ...
    async def close(self, code: int = 1000, reason: str = "") -> None: ...
