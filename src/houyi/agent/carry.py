"""The files of a stopped VM through a door: what the source says, and what the destination takes of it. Either end may break off; nothing of it counts until it is accepted."""

from collections.abc import Awaitable, Callable

from houyi.agent.door import Line
from houyi.host.port import BLOCK_BYTES, Carrier, Parcel
from houyi.model.errors import Failed, Forbidden, HouyiError
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm
from houyi.wire.door import Block, Complete, Entered, Have, Offered, Said, TurnedAway, Whole

NVRAM_BYTES_MAX = 64 << 20

Sent = Callable[[int], Awaitable[None]]
"""Told of every block that was sent: its bytes. May take its time."""


async def send_files(line: Line, carrier: Carrier, vm_id: VmId, sent: Sent) -> None:
    """Until the destination has accepted everything. :raise Unavailable: `door_lost`: again from where it broke off. :raise Forbidden: it refuses, with its reason."""
    for parcel in await carrier.parcels(vm_id):
        await line.say(Offered(name=parcel.name, size_bytes=parcel.size_bytes, stored_bytes=parcel.stored_bytes))
        have = await line.hear()
        if not isinstance(have, Have):
            raise _strange(have)
        async for offset, data in carrier.blocks(vm_id, parcel.name, have.offset):
            await line.say(Block(offset=offset, data=data))
            await sent(len(data))
        await line.say(Whole(sha256=await carrier.digest(vm_id, parcel.name)))
        await _accepted(line)
    await line.say(Complete())
    await _accepted(line)


async def _accepted(line: Line) -> None:
    answer = await line.hear()
    if not isinstance(answer, Entered):
        raise _strange(answer)


async def take_files(line: Line, carrier: Carrier, vm: DesiredVm) -> None:
    """Until the source says that there is no more; a refusal is told to it, and raised. :raise Unavailable: `door_lost`. :raise Failed: what has come is no good."""
    try:
        while isinstance(said := await line.hear(), Offered):
            await _take(line, carrier, vm, _parcel(said, vm))
            await line.say(Entered())
        if not isinstance(said, Complete):
            raise _strange(said)
    except (Failed, Forbidden) as refused:
        await line.say(TurnedAway(problem=refused.problem))
        raise
    await line.say(Entered())


def _parcel(offered: Offered, vm: DesiredVm) -> Parcel:
    """:raise Failed: `carried_refused`: no such file goes along, or it is larger than any honest one."""
    disk = vm.spec.disk_gib << 30
    most = {"disk": disk + disk // 64 + (16 << 20), "nvram": NVRAM_BYTES_MAX}.get(offered.name)
    if most is None or not 0 <= offered.stored_bytes <= offered.size_bytes <= most:
        raise Failed("carried_refused", f"file {offered.name[:20]!r} of {offered.size_bytes} bytes does not go along with VM {vm.name}")
    return Parcel(name="disk" if offered.name == "disk" else "nvram", size_bytes=offered.size_bytes, stored_bytes=offered.stored_bytes)


async def _take(line: Line, carrier: Carrier, vm: DesiredVm, parcel: Parcel) -> None:
    await line.say(Have(offset=await carrier.arrived(vm.id, parcel.name)))
    while isinstance(said := await line.hear(), Block):
        if said.offset < 0 or said.offset % BLOCK_BYTES or len(said.data) > BLOCK_BYTES or said.offset + len(said.data) > parcel.size_bytes:
            raise Failed("carried_refused", f"a block at {said.offset} does not belong to {parcel.name} of VM {vm.name}")
        await carrier.put(vm.id, parcel.name, said.offset, said.data)
    if not isinstance(said, Whole):
        raise _strange(said)
    await carrier.accept(vm, parcel, said.sha256)


def _strange(said: Said) -> HouyiError:
    if isinstance(said, TurnedAway):
        return Forbidden(said.problem.code, said.problem.detail)
    return Forbidden("door_words", f"a {type(said).__name__} was not expected here: are both agents of the same version?")
