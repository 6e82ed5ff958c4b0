"""What can break while a VM moves, by name: each fault is done to a `Ends`, at once or in the next moments. `Fleet.heal` mends all of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

from houyi.control.commands.migration import cancel_migration
from houyi.host.sim.state import forget_domain
from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from sim.world import Machine, World


class Ends(Protocol):
    """A move as a fault sees it."""

    world: World
    source: Machine
    destination: Machine
    migration_id: str


Fault = Callable[[Ends, VmId], Awaitable[None] | None]

HOUR = 3600.0


async def server_dies(ends: Ends, _vm_id: VmId) -> None:
    await ends.world.kill_server()


async def source_agent_dies(ends: Ends, _vm_id: VmId) -> None:
    await ends.source.kill()


async def destination_agent_dies(ends: Ends, _vm_id: VmId) -> None:
    await ends.destination.kill()


def source_libvirtd_dies(ends: Ends, _vm_id: VmId) -> None:
    ends.source.sim.lose_libvirt()


def destination_libvirtd_dies(ends: Ends, _vm_id: VmId) -> None:
    ends.destination.sim.lose_libvirt()


def source_qemu_dies(ends: Ends, vm_id: VmId) -> None:
    if ends.source.sim.running(vm_id):
        ends.source.sim.kill_qemu(vm_id)


def destination_qemu_dies(ends: Ends, vm_id: VmId) -> None:
    kill_guest(ends.destination, vm_id)


def kill_guest(machine: Machine, vm_id: VmId) -> None:
    """One that is still arriving goes with its process."""
    if domain := machine.sim.running(vm_id):
        if domain.transient:
            forget_domain(machine.sim, vm_id, domain)
        else:
            machine.sim.kill_qemu(vm_id)


def both_libvirtds_die(ends: Ends, vm_id: VmId) -> None:
    source_libvirtd_dies(ends, vm_id)
    destination_libvirtd_dies(ends, vm_id)


async def both_agents_die(ends: Ends, vm_id: VmId) -> None:
    await source_agent_dies(ends, vm_id)
    await destination_agent_dies(ends, vm_id)


def connection_lost(ends: Ends, vm_id: VmId) -> None:
    """The libvirts' connection alone: agents reach each other, and the server."""
    if job := ends.source.sim.jobs.get(vm_id):
        job.connection.lose()


def cut(ends: Ends, _vm_id: VmId) -> None:
    ends.world.net.cut(ends.source.name, ends.destination.name)


def black_hole(ends: Ends, _vm_id: VmId) -> None:
    ends.world.net.silence(ends.source.name, ends.destination.name)


def source_isolated(ends: Ends, vm_id: VmId) -> None:
    black_hole(ends, vm_id)
    _alone(ends.source)


def destination_isolated(ends: Ends, vm_id: VmId) -> None:
    black_hole(ends, vm_id)
    _alone(ends.destination)


def _alone(machine: Machine) -> None:
    machine.reachable = False
    machine.cut()


async def source_loses_power(ends: Ends, vm_id: VmId) -> None:
    cut(ends, vm_id)
    await ends.source.reboot()


async def destination_loses_power(ends: Ends, vm_id: VmId) -> None:
    cut(ends, vm_id)
    await ends.destination.reboot()


def destination_out_of_memory(ends: Ends, vm_id: VmId) -> None:
    """Also for a guest that is there already: the kernel kills it."""
    ends.destination.sim.memory_full = True
    kill_guest(ends.destination, vm_id)


def destination_disk_full(ends: Ends, _vm_id: VmId) -> None:
    ends.destination.sim.disk_full = True


async def cancelled(ends: Ends, _vm_id: VmId) -> None:
    with contextlib.suppress(Conflict):  # it is where it shall be
        await cancel_migration(ends.world.control, ends.world.ctx, ends.migration_id)


def reports_lost(ends: Ends, _vm_id: VmId) -> None:
    """The links break with whatever is under way on them, and come again."""
    for machine in (ends.source, ends.destination):
        machine.cut()


def said_again(ends: Ends, _vm_id: VmId, *, back: int) -> None:
    """Hosts and servers hear once more what was said on their links so many messages ago."""
    for machine in (ends.source, ends.destination):
        if (wire := machine.wire) is not None:
            for end in (wire.host, wire.server):
                if end.heard:
                    end.arrives(end.heard[max(-len(end.heard), -1 - back)], 0.0)


def jumps(ends: Ends, _vm_id: VmId, *, who: str, seconds: float) -> None:
    """A clock is set."""
    clocks = {"source": [ends.source.clock], "destination": [ends.destination.clock], "server": [one.clock for one in ends.world.servers]}
    for clock in clocks[who]:
        clock.ahead += seconds


async def one_server_dies(ends: Ends, _vm_id: VmId) -> None:
    """That which moves things on: the other takes over when its leases have run out."""
    await ends.world.servers[0].kill()


async def source_libvirtd_blinks(ends: Ends, _vm_id: VmId) -> None:
    """It is restarted at once, and finds what it had been doing."""
    ends.source.sim.lose_libvirt()
    await asyncio.sleep(0.05)
    ends.source.sim.restore_libvirt()


def destination_unheard(ends: Ends, _vm_id: VmId) -> None:
    """By the server alone: GO passes."""
    _alone(ends.destination)


def destination_slow(ends: Ends, _vm_id: VmId) -> None:
    """To the server and from it: what it says of itself is old when it is heard."""
    if ends.destination.wire is not None:
        ends.destination.wire.slow_seconds = 1.0


def source_unheard(ends: Ends, _vm_id: VmId) -> None:
    _alone(ends.source)


def together(*faults: Fault) -> Fault:
    """At the same moment."""

    async def all_of_them(ends: Ends, vm_id: VmId) -> None:
        doing = [done for fault in faults if (done := fault(ends, vm_id)) is not None]
        await asyncio.gather(*doing)

    return all_of_them


FAULTS: Mapping[str, Fault] = {
    "server dies": server_dies,
    "source agent dies": source_agent_dies,
    "destination agent dies": destination_agent_dies,
    "source libvirtd dies": source_libvirtd_dies,
    "destination libvirtd dies": destination_libvirtd_dies,
    "source QEMU dies": source_qemu_dies,
    "destination QEMU dies": destination_qemu_dies,
    "network cut": cut,
    "network black hole": black_hole,
    "source isolated": source_isolated,
    "destination isolated": destination_isolated,
    "source loses power": source_loses_power,
    "destination loses power": destination_loses_power,
    "destination out of memory": destination_out_of_memory,
    "destination disk full": destination_disk_full,
    "cancel": cancelled,
}
"""One thing breaks."""

DOUBLE: Mapping[str, Fault] = {
    "server and network cut": together(server_dies, cut),
    "server and black hole": together(server_dies, black_hole),
    "server and source isolated": together(server_dies, source_isolated),
    "server and source agent": together(server_dies, source_agent_dies),
    "server and destination agent": together(server_dies, destination_agent_dies),
    "both agents": both_agents_die,
    "both libvirtds": both_libvirtds_die,
    "source power, destination isolated": together(source_loses_power, destination_isolated),
    "destination power, server": together(destination_loses_power, server_dies),
    "cancel and source agent": together(cancelled, source_agent_dies),
    "cancel and network cut": together(cancelled, cut),
}
"""Two things break at the same moment."""

WORDS: Mapping[str, Fault] = {
    "connection lost": connection_lost,
    "reports lost": reports_lost,
    "said again": partial(said_again, back=0),
    "said late": partial(said_again, back=8),
    "source clock ahead": partial(jumps, who="source", seconds=HOUR),
    "source clock back": partial(jumps, who="source", seconds=-HOUR),
    "destination clock ahead": partial(jumps, who="destination", seconds=HOUR),
    "destination clock back": partial(jumps, who="destination", seconds=-HOUR),
    "server clock ahead": partial(jumps, who="server", seconds=HOUR),
    "server clock back": partial(jumps, who="server", seconds=-HOUR),
}
"""Nothing breaks but words and clocks."""

HANDOVER: Mapping[str, Fault] = {
    "source libvirtd blinks": source_libvirtd_blinks,
    "source libvirtd blinks, destination unheard": together(destination_unheard, source_libvirtd_blinks),
    "source libvirtd blinks, destination slow": together(destination_slow, source_libvirtd_blinks),
    "source unheard": source_unheard,
    "destination unheard": destination_unheard,
    "connection lost, source unheard": together(connection_lost, source_unheard),
    "connection lost, destination unheard": together(connection_lost, destination_unheard),
}
"""While the guest changes hands: one end knows what the server does not."""

CROWD: Mapping[str, Fault] = {
    "one of two servers": one_server_dies,
    "one of two servers, network cut": together(one_server_dies, cut),
    "both servers, source isolated": together(server_dies, source_isolated),
    "source power, one of two servers": together(source_loses_power, one_server_dies),
}
"""Where there are a third host and a second server."""
