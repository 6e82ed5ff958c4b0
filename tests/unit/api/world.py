"""An API over a real store, with callers of every kind, things to call about, and tunnels that lead to a console of our own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import uvicorn
from fastapi import FastAPI

from houyi.api.app import create_app, end_streams
from houyi.api.tunnels import Tunnel, TunnelKind
from houyi.base.clock import SystemClock
from houyi.base.config import ServerSettings, Settings
from houyi.base.ids import RandomIds
from houyi.control.commands.experiment import ExperimentAsk, try_tuning
from houyi.control.commands.join_token import create_join_token
from houyi.control.commands.network import create_network
from houyi.control.commands.placement_group import create_placement_group
from houyi.control.commands.pool import create_pool
from houyi.control.commands.project import create_project
from houyi.control.commands.ssh_key import create_ssh_key
from houyi.control.commands.token import create_token
from houyi.control.commands.vm_type import create_vm_type
from houyi.control.control import Context, Control
from houyi.control.first_start import first_start
from houyi.model.errors import HouyiError, Unavailable
from houyi.model.exits import ExitProfile, Spent, Virtualization
from houyi.model.experiment import Workload
from houyi.model.ids import HostId, ProjectId, VmId
from houyi.model.image import Image
from houyi.model.latency import DiskLatency, LatencyProfile
from houyi.model.network import NetworkKind, NetworkSpec
from houyi.model.placement_group import GroupPolicy, PlacementGroupSpec
from houyi.model.project import Project
from houyi.model.token import Role
from houyi.model.vm import DesiredVm, VmState
from houyi.planning.latency import BINS
from houyi.store.claims import claim_host
from houyi.store.journal import insert_operation
from houyi.store.rows.event import insert_event
from houyi.store.rows.host_report import put_host_report
from houyi.store.rows.image import insert_image
from houyi.store.rows.vm import insert_vm, put_observed
from houyi.store.store import Store
from houyi.store.views.project import get_project
from houyi.store.views.vm import get_vm
from made import a_migration, a_vm, an_image, an_observation, an_operation, insert_move, new_id, put_host, some_traits

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx7wBbGIi0dbB9Qp7ifpBXjT4CDQGgmn5Jc6aYhI4rf someone@example"
CALLERS = ("nobody", "member", "other", "admin")


class Console:
    """A tunnel whose far end says what a test gave it, then echoes in upper case; b'bye' ends it."""

    def __init__(self, said: list[bytes], ends_with: HouyiError | None) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        for one in said:
            self._queue.put_nowait(one)
        self._ends_with = ends_with
        self.closed = asyncio.Event()

    async def read(self) -> bytes:
        data = await self._queue.get()
        if not data and self._ends_with is not None:
            raise self._ends_with
        return data

    async def write(self, data: bytes) -> None:
        self._queue.put_nowait(b"" if data == b"bye" else data.upper())

    async def close(self) -> None:
        self.closed.set()


@dataclass
class Far:
    """Tunnels: what is opened is written down, and fails as planned."""

    opened: list[tuple[HostId, VmId, TunnelKind]] = field(default_factory=list)
    profiled: list[tuple[HostId, VmId, float]] = field(default_factory=list)
    consoles: list[Console] = field(default_factory=list)
    says: list[bytes] = field(default_factory=list)
    refuses: Exception | None = None
    ends_with: HouyiError | None = None

    def reset(self) -> None:
        self.opened, self.consoles, self.says, self.refuses, self.ends_with = [], [], [], None, None
        self.profiled = []

    async def profile(self, host_id: HostId, vm_id: VmId, seconds: float) -> ExitProfile:
        if self.refuses is not None:
            raise self.refuses
        self.profiled.append((host_id, vm_id, seconds))
        reasons = {"hlt": Spent(len(self.profiled), 1000), "msr": Spent(10, 10_000)}
        msrs = {"write tsc_deadline": 8}
        return ExitProfile(vm_id=vm_id, began_at=1e9, seconds=2.0, virtualization=Virtualization.SVM, reasons=reasons, msrs=msrs)

    async def latency(self, host_id: HostId, vm_id: VmId, seconds: float) -> LatencyProfile:
        if self.refuses is not None:
            raise self.refuses
        self.profiled.append((host_id, vm_id, seconds))
        none = (0,) * BINS
        disk = DiskLatency(name="vda", reads=none, writes=(*none[:6], len(self.profiled), 9, *none[8:]), flushes=none)
        return LatencyProfile(vm_id=vm_id, began_at=1e9, seconds=2.0, disks=(disk,))

    async def open(self, host_id: HostId, vm_id: VmId, kind: TunnelKind) -> Tunnel:
        if self.refuses is not None:
            raise self.refuses
        self.opened.append((host_id, vm_id, kind))
        self.consoles.append(Console(self.says, self.ends_with))
        return self.consoles[-1]


UNREACHABLE = Unavailable("host_unreachable", "no link")


@dataclass
class World:
    control: Control
    app: FastAPI
    far: Far
    tokens: dict[str, str]
    mine: Project
    theirs: Project
    host_id: HostId

    @property
    def store(self) -> Store:
        return self.control.store

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"} if who != "nobody" else {}

    def client(self, who: str, url: str | None = None) -> httpx2.AsyncClient:
        """In this process; over TCP when `url` is given."""
        transport = httpx2.ASGITransport(self.app) if url is None else None
        return httpx2.AsyncClient(transport=transport, base_url=url or "http://api", headers=self.headers(who), timeout=20, trust_env=False)

    def context(self, project: ProjectId | None = None) -> Context:
        return Context("token:test", project or self.mine.id, Role.ADMIN)

    async def new_image(self, name: str = "", project: ProjectId | None = None, **values: object) -> Image:
        image = an_image(name or f"i-{new_id()[:8]}", project_id=project or self.mine.id, created_at=self.control.clock.now(), **values)
        await self.store.apply([insert_image(image)])
        return image

    async def new_vm(self, name: str = "", *, state: VmState | None = VmState.RUNNING, project: ProjectId | None = None, **values: object) -> DesiredVm:
        """On the host, as observed; `state` None: without a host."""
        image = await self.new_image(project=project)
        vm = a_vm(image, name or f"v-{new_id()[:8]}", project_id=project or self.mine.id, **values)
        await self.store.apply([insert_vm(vm, False, self.control.clock.now())])
        if state is not None:
            amounts = {"vcpu": 1, "memory_mib": 1, "disk_gib": 1}
            limits = dict.fromkeys(amounts, 1000000)
            await self.store.apply([claim_host(vm, self.host_id, amounts, limits, self.control.clock.now())])
            await self.store.apply([put_observed(self.host_id, vm.project_id, an_observation(vm, state, epoch=1))])
        return vm

    async def new_migration(self) -> str:
        """Of a VM that runs; to a host of its own."""
        vm = await self.new_vm()
        destination = await put_host(self.store, f"h-{new_id()[:8]}")
        moving = (await self.store.read(lambda c: get_vm(c, vm.id, None))).desired
        one = a_migration(moving, self.host_id, destination, created_at=self.control.clock.now())
        await self.store.apply([insert_move(one, moving)])
        return one.id

    async def new(self, noun: str) -> str:
        """The id of a fresh one, in the project `mine` where it belongs to one."""
        name, ctx = f"{noun.replace('_', '-')}-{new_id()[:8]}", self.context()
        if noun == "vm":
            return (await self.new_vm(name)).id
        if noun == "image":
            return (await self.new_image(name)).id
        if noun == "network":
            return (await create_network(self.control, ctx, name, NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0"))).id
        if noun == "vm_type":
            return (await create_vm_type(self.control, ctx, name, 1, 128, 1)).id
        if noun == "ssh_key":
            return (await create_ssh_key(self.control, ctx, name, PUBLIC_KEY)).id
        if noun == "placement_group":
            return (await create_placement_group(self.control, ctx, name, PlacementGroupSpec(policy=GroupPolicy.AFFINITY))).id
        if noun == "pool":
            return (await create_pool(self.control, ctx, name)).id
        if noun == "project":
            return (await create_project(self.control, ctx, name)).id
        if noun == "token":
            return (await create_token(self.control, ctx, name, Role.MEMBER))[0].id
        if noun == "join_token":
            return (await create_join_token(self.control, ctx, "f" * 32))[0].id
        if noun == "host":
            host_id = await put_host(self.store, name)
            await self.store.apply([put_host_report(host_id, some_traits(), self.control.clock.now())])
            return host_id
        if noun == "operation":
            operation = an_operation(self.mine.id, cancellable=True)
            await self.store.apply([insert_operation(operation)])
            return operation.id
        if noun == "migration":
            return await self.new_migration()
        if noun == "experiment":
            vm = await self.new_vm(name)
            ask = ExperimentAsk(knobs={"hpet": "on"}, workload=Workload(), runs=34, restart=True)
            return (await try_tuning(self.control, ctx, vm.id, ask))[0].id
        if noun in ("knob", "profile"):
            return {"knob": "hpet", "profile": "latency"}[noun]
        assert noun == "event"
        return await self.new_event()

    async def new_event(self) -> str:
        from houyi.model.event import Event
        from houyi.model.ids import EventId

        event = Event(
            id=EventId(new_id()), project_id=self.mine.id, kind="vm.test", target_kind="vm", target_id=new_id(), target_name="x", detail="it was", at=1.0
        )
        await self.store.apply([insert_event(event)])
        return event.id


@asynccontextmanager
async def opened_world(url: str, folder: Path, *, max_body_bytes: int = 100_000) -> AsyncIterator[World]:
    settings = Settings(state_dir=folder, server=ServerSettings(disk_kept_mib=0, max_body_bytes=max_body_bytes, max_image_bytes=8 << 20))
    store = await Store.open(url)
    control = Control(store, SystemClock(), RandomIds(), settings)
    admin = await first_start(control, "10.80.0.0/24")
    assert admin is not None
    default = await store.read(lambda c: get_project(c, "default"))
    ctx = Context("token:test", default.id, Role.ADMIN)
    mine, theirs = await create_project(control, ctx, "mine"), await create_project(control, ctx, "theirs")
    member = await create_token(control, Context("token:test", mine.id, Role.ADMIN), "m", Role.MEMBER)
    other = await create_token(control, Context("token:test", theirs.id, Role.ADMIN), "o", Role.MEMBER)
    host_id = await put_host(store, "h1")
    far = Far()
    tokens = {"admin": admin, "member": member[1], "other": other[1]}
    try:
        yield World(control, create_app(control, far, "ab" * 16), far, tokens, mine, theirs, host_id)
    finally:
        await store.close()


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[str]:
    """The API on a port of loopback, in this event loop. Yields its URL."""
    config = uvicorn.Config(world.app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not task.done()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        end_streams(world.app)
        server.should_exit = True
        await task
