"""A platform for tests: `Server` and `Agent` can be killed and started again apart from each other, as the processes they stand for."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from houyi.agent.agent import identity_of, join_platform, run_agent
from houyi.api.agents.listener import AgentsListener
from houyi.base.clock import SystemClock
from houyi.base.config import AgentSettings, ServerSettings, Settings
from houyi.base.ids import RandomIds
from houyi.control.ca import Authority
from houyi.control.commands.image import create_image
from houyi.control.commands.join_token import create_join_token
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.control import Context, Control
from houyi.control.first_start import first_start
from houyi.control.images import open_image
from houyi.control.intake.image import receive
from houyi.control.reconcilers.all import RECONCILERS
from houyi.control.reconcilers.runner import run_forever
from houyi.host.sim import SimHost
from houyi.model.host import Host
from houyi.model.ids import HostId, ImageId, VmId
from houyi.model.image import Image, ImageSpec
from houyi.model.operation import ENDED, Operation, OperationState
from houyi.model.token import Role
from houyi.model.vm import EffectiveState, Vm, effective
from houyi.store.store import Store
from houyi.store.views.host import get_host
from houyi.store.views.operation import get_operation
from houyi.store.views.project import get_project
from houyi.store.views.vm import get_vm

CONTENT = bytes(510) + b"\x55\xaa" + bytes(1 << 20)
"""A raw disk with a partition table's mark."""
SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """One server process. `kill` ends it as SIGKILL does: nothing is said to anybody by its own choice."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings, self._url = settings, url

    async def start(self) -> None:
        clock, ids = SystemClock(), RandomIds()
        self.store = await Store.open(self._url)
        self.control = Control(self.store, clock, ids, self.settings)
        await first_start(self.control, "10.80.0.0/24")
        self.authority = Authority.open(self.settings.state_dir / "ca", clock)
        self.listener = AgentsListener(self.control, self.authority, self._read_image)
        await self.listener.start()
        self._tasks = [asyncio.create_task(run_forever(self.control, each, "server")) for each in RECONCILERS]

    async def _read_image(self, image_id: ImageId, offset: int, length: int) -> bytes:
        reader = await open_image(self.control, image_id)
        try:
            return await reader(offset, length)
        finally:
            reader.close()

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.listener.stop()
        await self.store.close()


class Agent:
    """One agent process on a simulated machine, which outlives it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self.sim = SimHost(SystemClock(), boot_seconds=0.02, shutdown_seconds=0.02)
        self.sim.facts = replace(self.sim.facts, hostname=name, cpus=4, memory_mib=4096 + 1024 + 512, disk_gib=100)
        self._task: asyncio.Task[None] | None = None

    @property
    def host_id(self) -> HostId:
        return identity_of(self.settings).host_id()

    async def join(self, token: str) -> None:
        await join_platform(self.settings, token, SystemClock(), self.name)

    def start(self) -> None:
        self._task = asyncio.create_task(run_agent(self.settings, self.sim.ports(), SystemClock(), RandomIds()))

    async def kill(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


class Platform:
    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._port = free_port()
        server = ServerSettings(agents_port=self._port, reconcile_seconds=0.1, lease_seconds=3.0, memory_reserved_mib=512)
        self.server = Server(Settings(state_dir=folder / "server", server=server), url)
        self.agents: dict[str, Agent] = {}

    async def __aenter__(self) -> "Platform":
        await self.server.start()
        project = await self.server.store.read(lambda c: get_project(c, "default"))
        self.ctx = Context(actor="token:test", project_id=project.id, role=Role.ADMIN)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for agent in self.agents.values():
            await agent.kill()
            await agent.sim.close()
        await self.server.kill()

    @property
    def control(self) -> Control:
        return self.server.control

    async def token(self) -> str:
        _, text = await create_join_token(self.control, self.ctx, self.server.authority.fingerprint)
        return text

    def new_agent(self, name: str) -> Agent:
        settings = AgentSettings(server_port=self._port, pass_seconds=0.5, heartbeat_seconds=0.5, metrics_port=0, door_port=0, door_address="127.0.0.1")
        agent = self.agents[name] = Agent(Settings(state_dir=self._folder / name, agent=settings), name)
        return agent

    async def add_host(self, name: str) -> Agent:
        agent = self.new_agent(name)
        await agent.join(await self.token())
        agent.start()
        await self.until(lambda: self._connected(agent))
        return agent

    async def _connected(self, agent: Agent) -> bool:
        return (await self.host(agent)).connected

    async def host(self, agent: Agent) -> Host:
        return await self.server.store.read(lambda c: get_host(c, agent.host_id))

    async def add_image(self, name: str = "disk") -> Image:
        image, _ = await create_image(self.control, self.ctx, name, ImageSpec())
        return await receive(self.control, self.ctx, image.id, 0, len(CONTENT), _chunks())

    async def create(self, name: str, **ask: object) -> tuple[VmId, Operation]:
        whole = {"image": "disk", "vcpus": 1, "memory_mib": 256, "disk_gib": 1, **ask}
        vm, operation = await create_vm(self.control, self.ctx, VmAsk(name=name, **whole))  # type: ignore[arg-type]
        return vm.desired.id, operation

    async def vm(self, reference: str) -> Vm:
        return await self.server.store.read(lambda c: get_vm(c, reference, None))

    async def running(self, name: str, **ask: object) -> VmId:
        vm_id, operation = await self.create(name, **ask)
        await self.done(operation)
        await self.until_state(vm_id, EffectiveState.RUNNING)
        return vm_id

    async def done(self, operation: Operation) -> Operation:
        """Wait for its end, which has to be a good one."""
        ended = await self.ended(operation)
        assert ended.state is OperationState.DONE, ended
        return ended

    async def ended(self, operation: Operation) -> Operation:
        async def has() -> bool:
            return (await self.server.store.read(lambda c: get_operation(c, operation.id, None))).state in ENDED

        await self.until(has)
        return await self.server.store.read(lambda c: get_operation(c, operation.id, None))

    async def until_state(self, reference: str, *states: EffectiveState) -> None:
        async def is_so() -> bool:
            return effective(await self.vm(reference)) in states

        await self.until(is_so)

    async def until_answers(self, reference: str) -> None:
        """Until all is said of a VM that has just started: its guest agent answers and tells its addresses."""

        async def answers() -> bool:
            seen = (await self.vm(reference)).observed
            return seen is not None and bool(seen.guest_addresses)

        await self.until(answers)

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        end = time.monotonic() + SECONDS
        while not await true():
            assert time.monotonic() < end, f"not within {SECONDS:g} s"
            await asyncio.sleep(0.02)


async def _chunks() -> AsyncIterator[bytes]:
    yield CONTENT
