"""How the agent reaches the server: a websocket over mutual TLS. The simulator gives the link another way."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from websockets.asyncio.client import connect

from houyi.agent.identity import Identity
from houyi.base.socket import Socket
from houyi.wire.agents import MAX_DESIRED_BYTES

Dial = Callable[[], AbstractAsyncContextManager[Socket]]
"""Make one connection to the server. :raise OSError: :raise websockets.WebSocketException: there is none. :raise Failed: `identity_damaged`."""


def dial_server(identity: Identity, host: str, port: int) -> Dial:
    """With the certificate as it is at each call, which may have been renewed since the last."""

    def dial() -> AbstractAsyncContextManager[Socket]:
        return connect(f"wss://{host}:{port}/link", ssl=identity.context(), max_size=MAX_DESIRED_BYTES, proxy=None, compression=None)

    return dial
