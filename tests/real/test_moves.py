"""A guest that verifies every page while it writes moves to and fro in every mode between two real hosts, through the doors: nothing is lost, of memory or disk.

HOUYI_MOVES says how many moves in a row each mode makes.
"""

import asyncio
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.hosts import LibvirtHost
from contract.pairs import WRITER, WRITER_CONTENT, WRITER_MIB, RealMachines
from houyi.model.ids import VmId
from houyi.model.migration import Figures, Knobs, Landing, Presence, Terms
from houyi.model.vm import DesiredVm
from real.page_writer import FIRST_SECTOR, OFF, SECTORS, expected_sectors, rate, said

MOVES = int(os.environ.get("HOUYI_MOVES", "2"))

pytestmark = [pytest.mark.real, pytest.mark.timeout(120 + 30 * MOVES)]

WRITES_MIB_S = 30.0
SLOW = 12.0
"""A cap at which what the guest writes is never caught up with."""
MODES = {
    "plain": Terms(),
    "in the clear": Terms(encrypted=False),
    "multifd": Terms(channels=2),
    "multifd with zstd": Terms(channels=2, compressed=True),
    "throttled": Terms(bandwidth_mib_s_max=24.0, downtime_ms_max=1000.0),
    "post-copy": Terms(postcopy=True, bandwidth_mib_s_max=SLOW),
    "shared folder": Terms(),
}
TURNS = {"throttled": Knobs(throttle_percent=90, downtime_ms=1000.0), "post-copy": Knobs(postcopy=True)}


async def console(host: LibvirtHost, vm_id: VmId, data: bytes) -> None:
    channel = await host.ports.consoles.serial(vm_id)
    await channel.write(data)
    await asyncio.sleep(0.2)  # the byte is in QEMU's queue, which a closed socket would empty
    await channel.close()


async def passes(host: LibvirtHost, vm_id: VmId, more_than: int) -> tuple[int, int, int]:
    """What the guest says last, once it has gone on so far."""

    async def last() -> tuple[int, int, int]:
        return (said(await host.ports.consoles.log(vm_id)) or [(-1, 0, 0)])[-1]

    return await host.until(last, lambda line: line[0] > more_than)


def disk_of(host: LibvirtHost, vm_id: VmId) -> Path:
    return host.ports.files / "vms" / vm_id / "disk.qcow2"


def share(machines: RealMachines, vm_id: VmId) -> None:
    """Both hosts see one file, as in a shared folder."""
    assert isinstance(machines.source, LibvirtHost)
    assert isinstance(machines.destination, LibvirtHost)
    there = disk_of(machines.destination, vm_id)
    there.unlink()
    os.link(disk_of(machines.source, vm_id), there)


async def move(machines: RealMachines, vm: DesiredVm, landing: Landing, terms: Terms, turn: Knobs | None) -> Figures:
    """As the agents do it: GO as soon as the guest has arrived."""
    mover = machines.source.ports.mover
    async with machines.way(vm, landing, terms) as way:
        sending = asyncio.create_task(mover.send(vm, landing, way.path, terms))
        if turn is not None:
            await machines.source.until(lambda: mover.figures(vm.id), lambda found: sending.done() or (found is not None and found.rounds > 1))
            await mover.turn(vm.id, turn)
        arrived = asyncio.create_task(way.arrived.wait())
        await asyncio.wait({arrived, sending}, return_when=asyncio.FIRST_COMPLETED)
        assert way.arrived.is_set(), await sending
        begin = time.monotonic()
        await machines.go(vm)
        print(f"GO took {(time.monotonic() - begin) * 1000:.1f} ms")
        return await sending


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_lost(machines: RealMachines, mode: str) -> None:
    vm = await machines.writer()
    assert isinstance(machines.source, LibvirtHost)
    await console(machines.source, vm.id, rate(WRITES_MIB_S))
    count, _, _ = await passes(machines.source, vm.id, 1)
    for number in range(1, MOVES + 1):
        vm = await one_move(machines, vm, mode)
        assert isinstance(machines.destination, LibvirtHost)
        count, _, bad = await passes(machines.destination, vm.id, count + 3)
        assert bad == 0, f"{bad} bad pages after move {number}"
        machines.turn_round()
    at = machines.source
    assert isinstance(at, LibvirtHost)
    await console(at, vm.id, OFF)
    await at.until(lambda: at.ports.mover.presences([vm.id]), lambda found: found[vm.id] is Presence.OFF)
    _, written, bad = said(await at.ports.consoles.log(vm.id))[-1]
    assert (bad, sectors(disk_of(at, vm.id))) == (0, expected_sectors(written))


async def one_move(machines: RealMachines, vm: DesiredVm, mode: str) -> DesiredVm:
    """The VM as the destination has it."""
    moved, landing = await machines.landing(vm, WRITER, WRITER_CONTENT)
    if mode == "shared folder":
        share(machines, vm.id)
        landing = replace(landing, copies_disk=False)
    figures = await move(machines, moved, landing, MODES[mode], TURNS.get(mode))
    print(f"{mode}: {figures}")
    presences = [(await host.ports.mover.presences([vm.id]))[vm.id] for host in (machines.source, machines.destination)]
    assert presences == [Presence.NONE, Presence.LIVE]
    assert figures.memory_sent_mib > (0 if mode == "multifd with zstd" else WRITER_MIB)
    assert (figures.smaller > 1.5) == ("zstd" in mode) or figures.postcopy, figures
    assert figures.rounds > 0
    if mode != "shared folder":  # which has in it what its disk stands on
        await machines.source.ports.disks.leave_vm(vm.id)
    return moved


def sectors(disk: Path) -> list[int]:
    """The numbers that the guest has written."""
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw)], check=True, timeout=60)
    with raw.open("rb") as file:
        file.seek(FIRST_SECTOR << 9)
        data = file.read(SECTORS << 9)
    raw.unlink()
    return [int.from_bytes(data[place << 9 : (place << 9) + 4], "little") for place in range(SECTORS)]
