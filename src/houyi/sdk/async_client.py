"""The async twin of client.py, over the same nouns.

async with AsyncClient.from_login() as client:
    operation = await client.vms.create(VmCreate(name="hello", image="tiny", type="c1.small"))
    await client.operations.wait(operation)
    async for change in client.vms.watch():
        print(change.op, change.object and change.object.state)
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from houyi.model.errors import Unavailable
from houyi.sdk import nouns
from houyi.sdk.async_transport import AsyncTransport
from houyi.sdk.calls import AsyncNoun
from houyi.sdk.credentials import find_login, local_login
from houyi.sdk.paths import path
from houyi.sdk.upload import RESUMES, Part, Told, broken, untold
from houyi.sdk.waiting import Wait
from houyi.wire.v1.event import Event
from houyi.wire.v1.experiment import Experiment
from houyi.wire.v1.host import Host
from houyi.wire.v1.image import Image
from houyi.wire.v1.join_token import JoinToken
from houyi.wire.v1.migration import Migration
from houyi.wire.v1.network import Network
from houyi.wire.v1.operation import Operation
from houyi.wire.v1.placement_group import PlacementGroup
from houyi.wire.v1.pool import Pool
from houyi.wire.v1.project import Project, WhoAmI
from houyi.wire.v1.ssh_key import SshKey
from houyi.wire.v1.token import Token
from houyi.wire.v1.tuning import Knob, Profile
from houyi.wire.v1.vm import Vm
from houyi.wire.v1.vm_type import VmType


class AsyncVms(nouns.VmCalls, AsyncNoun[Vm]):
    async def log(self, vm: str) -> bytes:
        """What the guest has said on its serial console. :raise Unavailable: `host_unreachable`."""
        return await self.transport.content(path("vms", vm, "log"))


class AsyncKnobs(AsyncNoun[Knob]):
    pass


class AsyncProfiles(AsyncNoun[Profile]):
    pass


class AsyncImages(nouns.ImageCalls, AsyncNoun[Image]):
    async def upload(self, image: str, file: Path, told: Told = untold) -> Image:
        """Send an image's content and have it checked; goes on where an earlier upload stopped, also by itself.

        :raise Failed: `upload_broken`: it broke off again and again. :raise Invalid: the content is refused.
        """
        for attempt in range(RESUMES):
            part = Part.of(file, (await self.show(image)).received_bytes)
            try:
                return Image.model_validate(await self.transport.upload(path("images", image, "content"), _unhurried(part, told), headers=part.headers))
            except Unavailable as error:
                reason = error.detail
                await asyncio.sleep(1.0 + attempt)
        raise broken(reason)


async def _unhurried(part: Part, told: Told) -> AsyncIterator[bytes]:
    """Its chunks, read in threads, so that a slow disk holds nobody up."""
    chunks = part.chunks(told)
    while data := await asyncio.to_thread(next, chunks, b""):
        yield data


class AsyncOperations(nouns.OperationCalls, AsyncNoun[Operation]):
    async def wait(self, operation: Operation, *, timeout_seconds: float = 600.0, on_progress: Callable[[Operation], None] | None = None) -> Operation:
        """Stay with an operation until it is done; `on_progress` is called with each look at it.

        :raise Failed: with the operation's own code, or `operation_cancelled`. :raise Unavailable: `wait_timeout`; it goes on.
        """
        clock = asyncio.get_running_loop().time
        wait = Wait(timeout_seconds, clock() + timeout_seconds, on_progress)
        while (seconds := wait.next_look(operation, clock())) is not None:
            operation = await self.look(operation.id, seconds)
        return operation


class AsyncVmTypes(nouns.VmTypeCalls, AsyncNoun[VmType]):
    pass


class AsyncNetworks(nouns.NetworkCalls, AsyncNoun[Network]):
    pass


class AsyncPlacementGroups(nouns.PlacementGroupCalls, AsyncNoun[PlacementGroup]):
    pass


class AsyncPools(nouns.PoolCalls, AsyncNoun[Pool]):
    pass


class AsyncHosts(nouns.HostCalls, AsyncNoun[Host]):
    pass


class AsyncMigrations(nouns.MigrationCalls, AsyncNoun[Migration]):
    pass


class AsyncExperiments(nouns.ExperimentCalls, AsyncNoun[Experiment]):
    pass


class AsyncSshKeys(nouns.SshKeyCalls, AsyncNoun[SshKey]):
    pass


class AsyncProjects(nouns.ProjectCalls, AsyncNoun[Project]):
    pass


class AsyncTokens(nouns.TokenCalls, AsyncNoun[Token]):
    pass


class AsyncJoinTokens(nouns.JoinTokenCalls, AsyncNoun[JoinToken]):
    pass


class AsyncEvents(AsyncNoun[Event]):
    pass


class AsyncClient:
    """Everything that the API offers, by noun. One connection pool; close it, or use it as a context manager."""

    def __init__(self, url: str, token: str, *, project: str = "", transport: httpx2.AsyncBaseTransport | None = None) -> None:
        """:param project: name or id of the project to act in, for administrators. :raise Invalid: `url_invalid`."""
        self.transport = AsyncTransport(url, token, project=project, transport=transport)
        self.vms = AsyncVms(self.transport, "vms", Vm)
        self.vm_types = AsyncVmTypes(self.transport, "vm-types", VmType)
        self.knobs = AsyncKnobs(self.transport, "knobs", Knob)
        self.profiles = AsyncProfiles(self.transport, "profiles", Profile)
        self.images = AsyncImages(self.transport, "images", Image)
        self.networks = AsyncNetworks(self.transport, "networks", Network)
        self.hosts = AsyncHosts(self.transport, "hosts", Host)
        self.migrations = AsyncMigrations(self.transport, "migrations", Migration)
        self.experiments = AsyncExperiments(self.transport, "experiments", Experiment)
        self.placement_groups = AsyncPlacementGroups(self.transport, "placement-groups", PlacementGroup)
        self.pools = AsyncPools(self.transport, "pools", Pool)
        self.ssh_keys = AsyncSshKeys(self.transport, "ssh-keys", SshKey)
        self.projects = AsyncProjects(self.transport, "projects", Project)
        self.tokens = AsyncTokens(self.transport, "tokens", Token)
        self.join_tokens = AsyncJoinTokens(self.transport, "join-tokens", JoinToken)
        self.operations = AsyncOperations(self.transport, "operations", Operation)
        self.events = AsyncEvents(self.transport, "events", Event)

    @classmethod
    def from_login(cls, url: str = "") -> Self:
        """As whoever is logged in: the environment, `houyi login`, or this machine's own server. :raise Unauthenticated: `not_logged_in`."""
        login = find_login(url)
        return cls(login.url, login.token)

    @classmethod
    def local(cls) -> Self:
        """The server of this very machine, as its administrator; for root. :raise Unauthenticated: `not_logged_in`."""
        login = local_login()
        return cls(login.url, login.token)

    async def whoami(self) -> WhoAmI:
        return WhoAmI.model_validate(await self.transport.request("GET", path("whoami")))

    async def close(self) -> None:
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
