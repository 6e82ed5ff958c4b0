"""What a lab asks of its own server, over the API as anybody: join tokens for hosts, how hosts are, and a network on which VMs reach each other."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from houyi.base.log import get_log
from houyi.local.lab.layout import BRIDGE, VMS_CIDR, VMS_GATEWAY
from houyi.model.errors import HouyiError
from houyi.model.network import NetworkKind
from houyi.sdk.async_client import AsyncClient
from houyi.wire.v1.host import Host
from houyi.wire.v1.join_token import JoinTokenCreate
from houyi.wire.v1.network import NetworkCreate

log = get_log(__name__)

T = TypeVar("T")

LOOK_SECONDS = 0.2
NETWORK = "lab"


class LabPlatform:
    """`token_file`: the administrator's, which the server's first start writes."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._url = url
        self._token_file = token_file
        self._client: AsyncClient | None = None

    async def settle(self) -> None:
        """Have the network `lab`, on the bridge that all hosts share."""
        await self._asked(_have_network)

    async def join_token(self) -> str:
        return (await self._asked(lambda client: client.join_tokens.create(JoinTokenCreate(lifetime_seconds=3600.0)))).token

    async def hosts(self) -> dict[str, Host] | None:
        """By name; None: the server does not answer."""
        client = self._ready()
        if client is None:
            return None
        try:
            return {host.name: host async for host in client.hosts.list()}
        except HouyiError as error:
            log.info("server_away", code=error.code)
            return None

    def _ready(self) -> AsyncClient | None:
        if self._client is None and self._token_file.exists():
            self._client = AsyncClient(self._url, self._token_file.read_text().strip())
        return self._client

    async def _asked(self, ask: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Ask again and again until the server has done it: it may be starting, or be killed meanwhile."""
        while True:
            client = self._ready()
            if client is not None:
                try:
                    return await ask(client)
                except HouyiError as error:
                    log.info("server_awaited", code=error.code, detail=error.detail)
            await asyncio.sleep(LOOK_SECONDS)


async def _have_network(client: AsyncClient) -> None:
    if not any([network.name == NETWORK async for network in client.networks.list()]):
        network = NetworkCreate(name=NETWORK, kind=NetworkKind.BRIDGE, bridge=BRIDGE, cidr=VMS_CIDR, gateway=VMS_GATEWAY, shared=True)
        await client.networks.create(network)
