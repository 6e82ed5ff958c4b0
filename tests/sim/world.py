"""A platform in one process and one thread, on a clock of its own: servers on one store, machines with agents, wires between them, and the dice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

from houyi.agent.agent import identity_of, run_agent
from houyi.agent.counts import Counts
from houyi.agent.rules import Rules
from houyi.api.agents.links import Links, guarded
from houyi.base.config import AgentSettings, ServerSettings, Settings
from houyi.base.ids import SeededIds
from houyi.base.socket import Socket
from houyi.control.ca import Authority
from houyi.control.commands.host import join_host
from houyi.control.commands.image import create_image
from houyi.control.commands.join_token import create_join_token
from houyi.control.control import Context, Control
from houyi.control.first_start import first_start
from houyi.control.images import open_image
from houyi.control.intake.image import receive
from houyi.control.reconcilers.all import RECONCILERS
from houyi.control.reconcilers.runner import Reconciler, run_forever
from houyi.control.workflows.migrate_vm import Decide, move_vms
from houyi.host.sim import SimHost, SimNet, SimStorage
from houyi.model.ids import HostId, ImageId
from houyi.model.image import ImageSpec
from houyi.model.join_token import JoinTokenText
from houyi.model.operation import Operation
from houyi.model.token import Role
from houyi.model.vm import Vm
from houyi.planning.migration.course import decide
from houyi.store.store import Store
from houyi.store.views.operation import list_operations
from houyi.store.views.page import EVERYTHING
from houyi.store.views.project import get_project
from houyi.store.views.vm import all_vms
from sim.between import SimDoor
from sim.virtual import VirtualClock, VirtualLoop
from sim.whole import CONTENT
from sim.wires import Wire
from sim.witness import Witness

HOSTS = 2


async def _content() -> AsyncIterator[bytes]:
    yield CONTENT


@dataclass(frozen=True, kw_only=True)
class Build:
    """What the world is made of; a planted bug is another part in its place."""

    hosts: int = HOSTS
    servers: int = 1
    cpus: int = 16
    memory_mib: int = 65536
    reconcile_seconds: float = 2.0
    make_door: Callable[[SimNet, str], SimDoor] = SimDoor
    rules: Rules = field(default_factory=Rules)
    decide: Decide = decide

    def reconcilers(self) -> tuple[Reconciler, ...]:
        return tuple(replace(one, run=partial(move_vms, decide=self.decide)) if one.name == "migrations" else one for one in RECONCILERS)


class Server:
    """One server process."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.clock = VirtualClock()
        self.up = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        world = self.world
        self.store = await Store.open(f"sqlite:///{world.folder}/houyi.db")
        self.control = Control(self.store, self.clock, world.ids, world.settings)
        await first_start(self.control, "10.80.0.0/24")
        self.authority = Authority.open(world.settings.state_dir / "ca", self.clock)
        self.links = Links(self.control, self.authority, self._read_image)
        self._tasks = [asyncio.create_task(run_forever(self.control, each, self.name)) for each in world.build.reconcilers()]
        self._tasks.append(asyncio.create_task(self.links.watch()))
        self.up = True

    async def kill(self) -> None:
        self.up = False
        talks = [talk for machine in self.world.machines.values() for talk in machine.cut(self)]
        for task in (*self._tasks, *talks):
            task.cancel()
        await asyncio.gather(*self._tasks, *talks, return_exceptions=True)
        await self.store.close()

    async def _read_image(self, image_id: ImageId, offset: int, length: int) -> bytes:
        reader = await open_image(self.control, image_id)
        try:
            return await reader(offset, length)
        finally:
            reader.close()


@dataclass(eq=False)
class World:
    """`open`, live, `close`."""

    seed: int
    folder: Path
    build: Build = field(default_factory=Build)
    clock: VirtualClock = field(default_factory=VirtualClock)
    """Right, whatever the machines' and the servers' clocks show."""
    acts: list[str] = field(default_factory=list)
    """What happened, with times: the story of a seed, to read when it fails."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.ids = SeededIds(self.seed)
        server = ServerSettings(lease_seconds=15.0, reconcile_seconds=self.build.reconcile_seconds)
        self.settings = Settings(state_dir=self.folder / "server", server=server)
        self.machines: dict[str, Machine] = {}
        self.net = SimNet()
        self.storage = SimStorage("00000000-0000-4000-8000-0000000000ee")
        self.asked: Counter[tuple[str, str]] = Counter()
        self.servers = [Server(self, f"server-{number}") for number in range(self.build.servers)]
        self.witness = Witness(self.machines, tell=self.tell)

    async def open(self) -> None:
        cast(VirtualLoop, asyncio.get_running_loop()).watch(self.witness.look)
        await self.start_server()
        project = await self.control.store.read(lambda c: get_project(c, "default"))
        self.ctx = Context(actor="token:test", project_id=project.id, role=Role.ADMIN)
        for number in range(self.build.hosts):
            machine = self.machines[f"host-{number}"] = Machine(self, f"host-{number}")
            await machine.join()
            machine.start()
        image, _ = await create_image(self.control, self.ctx, "disk", ImageSpec())
        await receive(self.control, self.ctx, image.id, 0, len(CONTENT), _content())
        await asyncio.sleep(5.0)

    async def close(self) -> None:
        cast(VirtualLoop, asyncio.get_running_loop()).watch(None)
        for machine in self.machines.values():
            await machine.kill()
            await machine.sim.close()
        await self.kill_server()

    @property
    def up(self) -> bool:
        return any(server.up for server in self.servers)

    @property
    def _server(self) -> Server:
        """Whom users ask: any that is up."""
        return next((server for server in self.servers if server.up), self.servers[0])

    @property
    def control(self) -> Control:
        return self._server.control

    @property
    def store(self) -> Store:
        return self._server.store

    @property
    def authority(self) -> Authority:
        return self._server.authority

    async def start_server(self) -> None:
        """All of them that are down."""
        for server in self.servers:
            if not server.up:
                await server.start()

    async def kill_server(self) -> None:
        """All of them that are up."""
        for server in self.servers:
            if server.up:
                await server.kill()

    async def vms(self) -> list[Vm]:
        return list(await self.store.read(all_vms))

    async def open_operations(self) -> list[Operation]:
        return list((await self.store.read(lambda c: list_operations(c, None, EVERYTHING, open_only=True))).items)

    async def operations_on(self, vm: Vm) -> list[Operation]:
        return list((await self.store.read(lambda c: list_operations(c, None, EVERYTHING, target_id=vm.desired.id))).items)

    def tell(self, act: str) -> None:
        self.acts.append(f"{self.clock.monotonic():9.3f} {act}")


class Machine:
    """One host: it outlives its agent, which outlives its links."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.clock = VirtualClock()
        self.settings = Settings(state_dir=world.folder / name, agent=AgentSettings(metrics_port=0))
        self.sim = SimHost(self.clock, boot_seconds=2.0, shutdown_seconds=1.0)
        self.sim.facts = replace(self.sim.facts, hostname=name, cpus=world.build.cpus, memory_mib=world.build.memory_mib)
        self.sim.join(world.net, name)
        self.sim.share("fast", world.storage)
        self.door: SimDoor | None = None
        self.boots = 0
        self.counts = Counts()
        """They outlive the agent here, so that what it counted is seen."""
        self.reachable = True
        self._talks: dict[Wire, tuple[Server, asyncio.Task[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        world, identity = self.world, identity_of(self.settings)
        token, text = await create_join_token(world.control, world.ctx, world.authority.fingerprint)
        self.host_id: HostId = await join_host(world.control, token.id, JoinTokenText.parse(text).secret, self.name)
        identity.pair.keep(world.authority.issue_host(self.host_id, identity.request()))
        identity.ca_path.write_text(world.authority.pem)

    def start(self) -> None:
        self.sim.facts = replace(self.sim.facts, hostname=self.name, boot_id=f"{self.name}-boot-{self.boots}")
        build = self.world.build
        self.door = build.make_door(self.world.net, self.name)
        agent = run_agent(self.settings, self.sim.ports(), self.clock, self.world.ids, self._dial, self.counts, self.door, build.rules)
        self._task = asyncio.create_task(agent)

    @property
    def alive(self) -> bool:
        return self._task is not None

    async def kill(self) -> None:
        """The agent, as SIGKILL does."""
        if self._task is not None:
            task, self._task = self._task, None
            if task.done():
                task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.door is not None:
            self.door.close()
        self.cut()

    async def reboot(self) -> None:
        await self.kill()
        self.sim.power_cut()
        self.boots += 1

    def cut(self, server: Server | None = None) -> list[asyncio.Task[None]]:
        """Its links, or those to one server. :return: the servers' ends of them."""
        cut = [wire for wire, (to, _) in self._talks.items() if server is None or to is server]
        for wire in cut:
            wire.cut()
        return [self._talks[wire][1] for wire in cut]

    @property
    def wire(self) -> Wire | None:
        """The newest of its links."""
        return next(reversed(self._talks), None)

    @asynccontextmanager
    async def _dial(self) -> AsyncIterator[Socket]:
        await asyncio.sleep(0.01)
        up = [server for server in self.world.servers if server.up]
        if not up or not self.reachable:
            raise OSError("no route to the server")
        server, wire = self.world.chance.choice(up), Wire(self.world.chance)
        talk = asyncio.create_task(guarded(wire.server, server.links.serve(self.host_id, wire.server)))
        self._talks[wire] = (server, talk)
        talk.add_done_callback(lambda _: self._talks.pop(wire, None))
        try:
            yield wire.host
        finally:
            await wire.host.close()
