"""The contract of Mover: a guest that runs at one machine, and what each end may say and do until it runs at the other."""

import asyncio

import pytest

from contract.pairs import WRITER, WRITER_CONTENT, Machines
from houyi.model.errors import Conflict, Failed, HouyiError
from houyi.model.ids import VmId
from houyi.model.migration import Figures, Knobs, Presence, Terms
from houyi.model.vm import DesiredVm, Firmware, VmState

TERMS = Terms(throttles=False)
SLOW = Terms(throttles=False, bandwidth_mib_s_max=4.0)
"""The writer's 64 MiB then take 16 s, once."""


async def presence(machines: Machines, vm: DesiredVm) -> tuple[Presence, Presence]:
    """At the source, at the destination."""
    return tuple([(await host.ports.mover.presences([vm.id]))[vm.id] for host in (machines.source, machines.destination)])  # type: ignore[return-value]


async def state(machines: Machines, vm: DesiredVm) -> tuple[int, VmState]:
    """At the destination: epoch and state."""
    seen = (await machines.destination.ports.machine.observe())[vm.id]
    return seen.epoch, seen.state


async def test_what_arrives_runs_when_it_is_told_to_and_not_before(machines: Machines) -> None:
    vm = await machines.guest()
    assert await presence(machines, vm) == (Presence.LIVE, Presence.NONE)
    moved, landing = await machines.landing(vm)
    with pytest.raises(Conflict) as early:
        await machines.destination.ports.mover.go(vm.id, run=True)
    assert early.value.code == "not_arrived"
    async with machines.way(moved, landing, TERMS) as way:
        figures = await machines.source.ports.mover.send(moved, landing, way.path, TERMS)
    assert await presence(machines, vm) == (Presence.NONE, Presence.ARRIVED)
    assert await state(machines, vm) == (2, VmState.PAUSED)
    assert figures.memory_sent_mib > 0
    for _ in range(2):
        await machines.destination.ports.mover.go(vm.id, run=True)
        assert await presence(machines, vm) == (Presence.NONE, Presence.LIVE)
    assert await state(machines, vm) == (2, VmState.RUNNING)


async def test_a_paused_guest_moves_and_stays_paused(machines: Machines) -> None:
    vm = await machines.guest()
    await machines.source.ports.machine.suspend(vm.id)
    moved, landing = await machines.landing(vm)
    async with machines.way(moved, landing, TERMS) as way:
        await machines.source.ports.mover.send(moved, landing, way.path, TERMS)
    assert await presence(machines, vm) == (Presence.NONE, Presence.ARRIVED)
    await machines.destination.ports.mover.go(vm.id, run=False)
    assert await presence(machines, vm) == (Presence.NONE, Presence.LIVE)
    assert await state(machines, vm) == (2, VmState.PAUSED)


async def test_a_paused_guest_whose_move_is_stopped_has_not_run(machines: Machines) -> None:
    vm = await machines.writer()
    await machines.source.ports.machine.suspend(vm.id)
    moved, landing = await machines.landing(vm, WRITER, WRITER_CONTENT)
    mover = machines.source.ports.mover
    async with machines.way(moved, landing, SLOW) as way:
        sending = asyncio.create_task(mover.send(moved, landing, way.path, SLOW))
        await machines.source.until(lambda: mover.figures(vm.id), lambda found: found is not None and found.memory_sent_mib > 0)
        assert await presence(machines, vm) == (Presence.SENDING, Presence.INCOMING)
        await mover.abort(vm.id)
        with pytest.raises(Failed) as stopped:
            await sending
        assert stopped.value.code == "migration_cancelled"
    await machines.source.until(lambda: presence(machines, vm), lambda both: both == (Presence.LIVE, Presence.NONE))
    assert (await machines.source.ports.machine.observe())[vm.id].state is VmState.PAUSED


async def test_a_guest_with_uefi_and_a_display_moves(machines: Machines) -> None:
    """Its NVRAM is a file of its own at either end, and its screen and serial line are where the destination has them."""
    vm = await machines.guest(firmware=Firmware.UEFI, video=True)
    moved, landing = await machines.landing(vm)
    async with machines.way(moved, landing, TERMS) as way:
        await machines.source.ports.mover.send(moved, landing, way.path, TERMS)
    await machines.destination.ports.mover.go(vm.id, run=True)
    assert await presence(machines, vm) == (Presence.NONE, Presence.LIVE)
    for open_ in (machines.destination.ports.consoles.vnc, machines.destination.ports.consoles.serial):
        channel = await open_(vm.id)
        await channel.close()


async def test_a_move_is_seen_turned_and_stopped(machines: Machines) -> None:
    vm = await machines.writer()
    moved, landing = await machines.landing(vm, WRITER, WRITER_CONTENT)
    mover = machines.source.ports.mover
    async with machines.way(moved, landing, SLOW) as way:
        sending = asyncio.create_task(mover.send(moved, landing, way.path, SLOW))
        figures = await machines.source.until(lambda: mover.figures(vm.id), lambda found: found is not None and found.memory_sent_mib > 0)
        assert isinstance(figures, Figures)
        assert figures.memory_total_mib >= 64
        assert await presence(machines, vm) == (Presence.SENDING, Presence.INCOMING)
        async with asyncio.timeout(5):
            assert await state(machines, vm) == (2, VmState.PAUSED)
        with pytest.raises(Conflict) as moving:
            await mover.sample(vm.id, 1.0)
        assert moving.value.code == "vm_moving"
        with pytest.raises(Conflict):
            await machines.destination.ports.mover.go(vm.id, run=True)
        await mover.turn(vm.id, Knobs(bandwidth_mib_s=2.0, downtime_ms=50.0))
        await mover.abort(vm.id)
        with pytest.raises(Failed) as stopped:
            await sending
        assert stopped.value.code == "migration_cancelled"
    await machines.source.until(lambda: presence(machines, vm), lambda both: both == (Presence.LIVE, Presence.NONE))


async def test_what_arrives_can_be_destroyed_and_the_guest_stays(machines: Machines) -> None:
    vm = await machines.writer()
    moved, landing = await machines.landing(vm, WRITER, WRITER_CONTENT)
    async with machines.way(moved, landing, SLOW) as way:
        sending = asyncio.create_task(machines.source.ports.mover.send(moved, landing, way.path, SLOW))
        await machines.source.until(lambda: presence(machines, vm), lambda both: both == (Presence.SENDING, Presence.INCOMING))
        async with asyncio.timeout(10):
            await machines.destination.ports.machine.undefine(vm.id)
        with pytest.raises(Failed) as failed:
            await sending
        assert failed.value.code == "migration_failed"
    await machines.source.until(lambda: presence(machines, vm), lambda both: both == (Presence.LIVE, Presence.NONE))


async def test_a_destination_that_is_not_there_is_told_and_the_guest_stays(machines: Machines) -> None:
    vm = await machines.guest()
    moved, landing = await machines.landing(vm)
    async with machines.way(moved, landing, TERMS) as way:
        path = way.path
    with pytest.raises(Failed) as failed:
        await machines.source.ports.mover.send(moved, landing, path, TERMS)
    assert failed.value.code == "migration_failed"
    assert await presence(machines, vm) == (Presence.LIVE, Presence.NONE)


async def test_where_nothing_moves(machines: Machines) -> None:
    vm = await machines.guest()
    mover = machines.source.ports.mover
    assert await mover.figures(vm.id) is None
    await mover.turn(vm.id, Knobs(downtime_ms=100.0))
    await mover.abort(vm.id)
    sample = await mover.sample(vm.id, 1.0)
    assert (sample.vm_id, sample.seconds, sample.dirty_mib_s >= 0.0) == (vm.id, 1.0, True)
    assert not machines.source.real or (sample.memory_mib > 0 and sample.disk_mib > 0)
    assert (await mover.sample(vm.id, 0.25)).seconds == 0.25
    await machines.source.ports.machine.destroy(vm.id)
    assert await presence(machines, vm) == (Presence.OFF, Presence.NONE)
    with pytest.raises(Conflict) as stopped:
        await mover.sample(vm.id, 1.0)
    assert stopped.value.code == "not_running"
    nobody = VmId("00000000-0000-4000-8000-00000000dead")
    assert await mover.presences([nobody]) == {nobody: Presence.NONE}


async def test_without_libvirt_nothing_is_concluded(machines: Machines) -> None:
    await machines.source.lose_libvirt()
    with pytest.raises(HouyiError) as away:
        await machines.source.ports.mover.presences([VmId("00000000-0000-4000-8000-00000000dead")])
    assert away.value.code == "libvirt_away"
    await machines.source.restore_libvirt()
