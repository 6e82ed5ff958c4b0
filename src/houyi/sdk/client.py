"""The sync client.

with Client.from_login() as client:
    operation = client.vms.create(VmCreate(name="hello", image="tiny", type="c1.small"))
    client.operations.wait(operation, on_progress=lambda now: print(f"{now.progress:.0%} {now.stage}"))
    print(client.vms.show("hello").nics[0].address)
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from houyi.model.errors import Unavailable
from houyi.sdk import nouns
from houyi.sdk.calls import SyncNoun
from houyi.sdk.credentials import find_login, local_login
from houyi.sdk.paths import path
from houyi.sdk.transport import Transport
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


class Vms(nouns.VmCalls, SyncNoun[Vm]):
    def log(self, vm: str) -> bytes:
        """What the guest has said on its serial console. :raise Unavailable: `host_unreachable`."""
        return self.transport.content(path("vms", vm, "log"))


class Knobs(SyncNoun[Knob]):
    pass


class Profiles(SyncNoun[Profile]):
    pass


class Images(nouns.ImageCalls, SyncNoun[Image]):
    def upload(self, image: str, file: Path, told: Told = untold) -> Image:
        """Send an image's content and have it checked; goes on where an earlier upload stopped, also by itself.

        :raise Failed: `upload_broken`: it broke off again and again. :raise Invalid: the content is refused.
        """
        for attempt in range(RESUMES):
            part = Part.of(file, self.show(image).received_bytes)
            try:
                return Image.model_validate(self.transport.upload(path("images", image, "content"), part.chunks(told), headers=part.headers))
            except Unavailable as error:
                reason = error.detail
                time.sleep(1.0 + attempt)
        raise broken(reason)


class Operations(nouns.OperationCalls, SyncNoun[Operation]):
    def wait(self, operation: Operation, *, timeout_seconds: float = 600.0, on_progress: Callable[[Operation], None] | None = None) -> Operation:
        """Stay with an operation until it is done; `on_progress` is called with each look at it.

        :raise Failed: with the operation's own code, or `operation_cancelled`. :raise Unavailable: `wait_timeout`; it goes on.
        """
        wait = Wait(timeout_seconds, time.monotonic() + timeout_seconds, on_progress)
        while (seconds := wait.next_look(operation, time.monotonic())) is not None:
            operation = self.look(operation.id, seconds)
        return operation


class VmTypes(nouns.VmTypeCalls, SyncNoun[VmType]):
    pass


class Networks(nouns.NetworkCalls, SyncNoun[Network]):
    pass


class PlacementGroups(nouns.PlacementGroupCalls, SyncNoun[PlacementGroup]):
    pass


class Pools(nouns.PoolCalls, SyncNoun[Pool]):
    pass


class Hosts(nouns.HostCalls, SyncNoun[Host]):
    pass


class Migrations(nouns.MigrationCalls, SyncNoun[Migration]):
    pass


class Experiments(nouns.ExperimentCalls, SyncNoun[Experiment]):
    pass


class SshKeys(nouns.SshKeyCalls, SyncNoun[SshKey]):
    pass


class Projects(nouns.ProjectCalls, SyncNoun[Project]):
    pass


class Tokens(nouns.TokenCalls, SyncNoun[Token]):
    pass


class JoinTokens(nouns.JoinTokenCalls, SyncNoun[JoinToken]):
    pass


class Events(SyncNoun[Event]):
    pass


class Client:
    """Everything that the API offers, by noun. One connection pool; close it, or use it as a context manager."""

    def __init__(self, url: str, token: str, *, project: str = "", transport: httpx2.BaseTransport | None = None) -> None:
        """:param project: name or id of the project to act in, for administrators. :raise Invalid: `url_invalid`."""
        self.transport = Transport(url, token, project=project, transport=transport)
        self.vms = Vms(self.transport, "vms", Vm)
        self.vm_types = VmTypes(self.transport, "vm-types", VmType)
        self.knobs = Knobs(self.transport, "knobs", Knob)
        self.profiles = Profiles(self.transport, "profiles", Profile)
        self.images = Images(self.transport, "images", Image)
        self.networks = Networks(self.transport, "networks", Network)
        self.hosts = Hosts(self.transport, "hosts", Host)
        self.migrations = Migrations(self.transport, "migrations", Migration)
        self.experiments = Experiments(self.transport, "experiments", Experiment)
        self.placement_groups = PlacementGroups(self.transport, "placement-groups", PlacementGroup)
        self.pools = Pools(self.transport, "pools", Pool)
        self.ssh_keys = SshKeys(self.transport, "ssh-keys", SshKey)
        self.projects = Projects(self.transport, "projects", Project)
        self.tokens = Tokens(self.transport, "tokens", Token)
        self.join_tokens = JoinTokens(self.transport, "join-tokens", JoinToken)
        self.operations = Operations(self.transport, "operations", Operation)
        self.events = Events(self.transport, "events", Event)

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

    def whoami(self) -> WhoAmI:
        return WhoAmI.model_validate(self.transport.request("GET", path("whoami")))

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
