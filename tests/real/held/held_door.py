"""The real door, and places at which a move waits as long as a test wants: that what it does next is done in this very phase.

A test that wants a move held makes the file `<phase>` in FOLDER, which all hosts of a lab see, and takes it away to let the move go on. That the
move is there, and waits, says `<phase>.reached`.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from houyi.agent.door import Admission
from houyi.agent.net_door import NetDoor
from houyi.host.libvirt.calls.frames import Frames, Kind
from houyi.host.libvirt.calls.passage import FINISH, PREPARE
from houyi.host.passages import Channel
from houyi.model.ids import HostId, MigrationId
from houyi.model.migration import Landing

FOLDER = Path("/var/lib/shared/held")
LOOK_SECONDS = 0.005


def mark(phase: str) -> bool:
    """Say that a move is there, if anybody wants to know."""
    if wanted := (FOLDER / phase).exists():
        (FOLDER / f"{phase}.reached").touch()
    return wanted


async def hold(phase: str) -> None:
    wanted = FOLDER / phase
    if mark(phase):
        while wanted.exists():  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(LOOK_SECONDS)


def held_channel(channel: Channel) -> Channel:
    """To the destination's libvirt."""
    asked, answered = Frames(), Frames()

    async def write(data: bytes) -> None:
        if any(frame.procedure == FINISH and frame.kind is Kind.CALL for frame in asked.feed(data)):
            await hold("finish")
        await channel.write(data)

    async def read() -> bytes:
        data = await channel.read()
        replies = answered.feed(data)
        if any(frame.procedure == FINISH and frame.kind is Kind.REPLY for frame in replies):
            await hold("finished")
        if any(frame.procedure == PREPARE and frame.kind is Kind.REPLY for frame in replies):
            mark("copying")
        return data

    return replace(channel, read=read, write=write)


class HeldDoor(NetDoor):
    async def admit(self, admission: Admission) -> tuple[str, int]:
        await hold("preparing")

        async def libvirt() -> Channel:
            await hold("beginning")
            return held_channel(await admission.libvirt())

        async def go() -> None:
            await hold("going")
            await admission.go()

        return await super().admit(replace(admission, libvirt=libvirt, go=go))

    async def shut(self, move: MigrationId) -> None:
        await hold("finishing")
        await super().shut(move)

    async def go(self, move: MigrationId, peer: HostId, landing: Landing) -> None:
        await hold("switch-over")
        await super().go(move, peer, landing)
