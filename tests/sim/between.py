"""The agents' door between simulated machines: what passes through it passes through `SimNet`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from houyi.agent.door import Admission, Way
from houyi.host.sim.net import LATENCY_SECONDS, Link, SimNet, SimRoad
from houyi.model.errors import Forbidden, HouyiError, Unavailable
from houyi.model.ids import HostId, MigrationId
from houyi.model.migration import Landing
from houyi.wire.door import DoorMessage, Said

GO_SECONDS = 20.0
"""As the real door waits for the answer."""


class SimLine:
    """One end of a line; what was said while the link is not up never arrives, and both ends hear of that."""

    other: "SimLine"

    def __init__(self, door: "SimDoor", landing: Landing) -> None:
        self._door, self._landing = door, landing
        self.heard: asyncio.Queue[Said | None] = asyncio.Queue()

    async def say(self, message: DoorMessage) -> None:
        await self._door._message(self._landing)
        self.other.heard.put_nowait(message)  # type: ignore[arg-type]

    async def hear(self) -> Said:
        while True:
            try:
                async with asyncio.timeout(1.0):
                    said = await self.heard.get()
            except TimeoutError:
                self._door.up(self._landing)
                continue
            if said is None:
                raise Unavailable("door_lost", "the other end has gone")
            return said


async def _taken(door: "SimDoor", move: MigrationId, far: SimLine) -> None:
    try:
        await door._admitted[move].files(far)
    except HouyiError:
        pass
    finally:
        far.other.heard.put_nowait(None)


class SimDoor:
    """One agent's; `close()` when the agent dies."""

    def __init__(self, net: SimNet, address: str) -> None:
        self.net, self.address = net, address
        self._admitted: dict[MigrationId, Admission] = {}
        self._going: dict[MigrationId, set[asyncio.Task[None]]] = {}

    def close(self) -> None:
        for move in list(self._admitted):
            self._shut(move)

    async def admit(self, admission: Admission) -> tuple[str, int]:
        self._admitted[admission.move] = admission
        self.net.open_door(self.address, admission.move, self)
        return self.address, 1

    async def shut(self, move: MigrationId) -> None:
        tasks = self._shut(move)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _shut(self, move: MigrationId) -> set[asyncio.Task[None]]:
        if self._admitted.pop(move, None) is not None:
            self.net.shut_door(self.address, move)
        tasks = self._going.pop(move, set())
        for task in tasks:
            task.cancel()
        return tasks

    @asynccontextmanager
    async def way(self, move: MigrationId, peer: HostId, landing: Landing) -> AsyncIterator[Way]:
        way = Way(Path(f"/sim/{self.address}/{move}.sock"))
        self.net.open_road(way.path, SimRoad(move, self.address, landing.address, way.arrived.set))
        try:
            yield way
        finally:
            self.net.close_road(way.path)

    @asynccontextmanager
    async def line(self, move: MigrationId, peer: HostId, landing: Landing, use: str = "files") -> AsyncIterator["SimLine"]:
        if use == "line":
            raise Unavailable("door_unreachable", "how much a simulated line carries is not measured")
        await self._message(landing)
        door = self.net.door(landing.address, move)
        if not isinstance(door, SimDoor):
            raise Forbidden("door_shut", "this door is not open for that move")
        near, far = SimLine(self, landing), SimLine(self, landing)
        near.other, far.other = far, near
        task = asyncio.create_task(_taken(door, move, far))
        going = door._going.setdefault(move, set())
        going.add(task)
        task.add_done_callback(going.discard)
        try:
            yield near
        finally:
            far.heard.put_nowait(None)

    async def go(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        await self._message(landing)
        door = self.net.door(landing.address, move)
        if not isinstance(door, SimDoor):
            raise Forbidden("door_shut", "this door is not open for that move")
        answer = door.enter(move)
        try:
            problem = await asyncio.shield(answer)
        except asyncio.CancelledError:
            if answer.cancelled():
                raise Unavailable("door_unreachable", "the door was shut meanwhile") from None
            raise
        await self._message(landing)
        if problem is not None:
            raise Forbidden(problem.code, problem.detail)

    def enter(self, move: MigrationId) -> "asyncio.Future[HouyiError | None]":
        """GO has come to us: done by our agent, whatever becomes of who said it. Cancelled: the door was shut."""
        admission, answer = self._admitted[move], asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await admission.go()
            except HouyiError as error:
                answer.set_result(error)
            except BaseException:
                answer.cancel()
                raise
            else:
                answer.set_result(None)

        task = asyncio.create_task(work())
        going = self._going.setdefault(move, set())
        going.add(task)
        task.add_done_callback(going.discard)
        return answer

    def refuse(self, move: MigrationId) -> None:
        """The source's libvirt has asked for what has no place in a move; the connection is about to be ended."""
        self._admitted[move].broke(Forbidden("call_refused", "the peer's libvirt asked for what has no place in a move"))

    async def _message(self, landing: Landing) -> None:
        await asyncio.sleep(LATENCY_SECONDS / 2)  # shorter than libvirt's calls
        waited = 0.0
        while self.net.link(self.address, landing.address) is Link.SILENT and waited < GO_SECONDS:
            await asyncio.sleep(0.1)
            waited += 0.1
        self.up(landing)

    def up(self, landing: Landing) -> None:
        """:raise Unavailable: the link is cut, or silent."""
        if self.net.link(self.address, landing.address) is not Link.UP:
            raise Unavailable("door_unreachable", "the door does not answer")
