"""A platform without its doors: a store, a clock that is moved by hand, one project with an image, a network and a host."""

from dataclasses import dataclass
from pathlib import Path

from houyi.base.config import ServerSettings, Settings
from houyi.base.ids import SeededIds
from houyi.control.control import Context, Control
from houyi.model.ids import HostId
from houyi.model.image import Image
from houyi.model.network import Network
from houyi.model.token import Role
from houyi.store.store import Store
from made import MINE, OTHER, a_network, put_host, put_image, put_network, put_projects


@dataclass
class HandClock:
    """Stands still until it is moved."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass
class Desk:
    control: Control
    clock: HandClock
    image: Image
    network: Network
    host_id: HostId
    me: Context
    """A member of MINE."""
    them: Context
    """A member of OTHER."""
    admin: Context

    @property
    def store(self) -> Store:
        return self.control.store


async def make_desk(store: Store, folder: Path) -> Desk:
    """A host of 4 CPUs, 8 GiB less 512 MiB, 100 GiB, without overcommit."""
    server = ServerSettings(vcpu_overcommit=1.0, memory_overcommit=1.0, disk_overcommit=1.0, memory_reserved_mib=512, reconcile_seconds=0.05)
    clock = HandClock()
    control = Control(store, clock, SeededIds(1), Settings(state_dir=folder, server=server))
    await put_projects(store)
    image = await put_image(store)
    network = await put_network(store, a_network("default"))
    host_id = await put_host(store, at=clock.now())
    return Desk(
        control,
        clock,
        image,
        network,
        host_id,
        Context(actor="token:me", project_id=MINE, role=Role.MEMBER, request_id="r1"),
        Context(actor="token:them", project_id=OTHER, role=Role.MEMBER),
        Context(actor="token:admin", project_id=MINE, role=Role.ADMIN),
    )
