"""What every Machine does: one suite, run on the simulated and on the real one."""

import time
from dataclasses import replace

import pytest

from contract.hosts import IMAGE, NETWORK, Host, new_vm, with_nic
from houyi.model.errors import Conflict, Failed, Unavailable
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm, GuestAgent, StateReason, VmState

NOBODY = VmId("00000000-0000-4000-8000-00000000dead")


async def state(host: Host, vm: DesiredVm) -> VmState | None:
    seen = (await host.ports.machine.observe()).get(vm.id)
    return seen.state if seen else None


async def end(host: Host, vm: DesiredVm, expected: VmState) -> StateReason:
    """Wait for the state; its reason."""
    seen = await host.until(lambda: seen_of(host, vm), lambda one: one is not None and one.state is expected)
    assert seen is not None
    return seen.reason


async def seen_of(host: Host, vm: DesiredVm):  # type: ignore[no-untyped-def]
    return (await host.ports.machine.observe()).get(vm.id)


async def test_nothing_is_there_at_first(host: Host) -> None:
    assert await host.ports.machine.observe() == {}


async def test_start_needs_a_disk(host: Host) -> None:
    with pytest.raises(Failed) as caught:
        await host.ports.machine.start(new_vm())
    assert caught.value.code == "disk_missing"
    assert await host.ports.machine.observe() == {}


async def test_start_is_seen_with_its_epoch(host: Host) -> None:
    vm = await host.have_disk(replace(new_vm(), epoch=7))
    await host.ports.machine.start(vm)
    seen = await seen_of(host, vm)
    assert (seen.vm_id, seen.epoch, seen.state, seen.accelerator) == (vm.id, 7, VmState.RUNNING, "qemu")
    assert seen.guest_agent is GuestAgent.DISCONNECTED
    assert seen.started_at > 0


async def test_start_twice_is_start_once(host: Host) -> None:
    vm = await host.booted(new_vm())
    before = await seen_of(host, vm)
    await host.ports.machine.start(replace(vm, epoch=2))
    assert await seen_of(host, vm) == before


async def test_start_paused_then_resume(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    await host.ports.machine.start(vm, paused=True)
    assert await state(host, vm) is VmState.PAUSED
    await host.ports.machine.resume(vm.id)
    assert await state(host, vm) is VmState.RUNNING


async def test_suspend_and_resume_repeated(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    await host.ports.machine.start(vm)
    for act, expected in ((host.ports.machine.suspend, VmState.PAUSED), (host.ports.machine.resume, VmState.RUNNING)):
        await act(vm.id)
        await act(vm.id)
        assert await state(host, vm) is expected


async def test_shutdown_by_the_power_button(host: Host) -> None:
    vm = await host.booted(new_vm())
    events = host.ports.machine.events()
    await host.ports.machine.shutdown(vm.id)
    assert await end(host, vm, VmState.STOPPED) is StateReason.REQUESTED
    await host.event(events, vm.id, "")
    assert (await seen_of(host, vm)).started_at == 0


async def test_destroy_then_start_again_with_a_new_epoch(host: Host) -> None:
    vm = await host.booted(new_vm())
    await host.ports.machine.destroy(vm.id)
    seen = await seen_of(host, vm)
    assert (seen.state, seen.reason, seen.started_at) == (VmState.STOPPED, StateReason.REQUESTED, 0)
    await host.ports.machine.destroy(vm.id)
    await host.ports.machine.start(replace(vm, epoch=2, generation=5))
    seen = await seen_of(host, vm)
    assert (seen.state, seen.epoch) == (VmState.RUNNING, 2)


async def test_what_is_not_there_is_left_in_peace(host: Host) -> None:
    await host.ports.machine.shutdown(NOBODY)
    await host.ports.machine.destroy(NOBODY)
    await host.ports.machine.undefine(NOBODY)


@pytest.mark.parametrize("act", ["suspend", "resume", "reboot", "reset"])
async def test_what_needs_a_running_guest_says_so(host: Host, act: str) -> None:
    vm = await host.booted(new_vm())
    await host.ports.machine.destroy(vm.id)
    for vm_id in (vm.id, NOBODY):
        with pytest.raises(Conflict) as caught:
            await getattr(host.ports.machine, act)(vm_id)
        assert caught.value.code == "not_running"


async def test_undefine_forgets_a_running_vm(host: Host) -> None:
    vm = await host.booted(new_vm())
    await host.ports.machine.undefine(vm.id)
    assert await host.ports.machine.observe() == {}
    assert vm.id in await host.ports.disks.vms()


async def test_reset_keeps_it_running_and_is_not_told_as_the_guests_doing(host: Host) -> None:
    vm = await host.booted(new_vm())
    before = await seen_of(host, vm)
    events = host.ports.machine.events()
    await host.ports.machine.reset(vm.id)
    await host.event(events, vm.id, "")
    assert await seen_of(host, vm) == replace(before, guest_agent=GuestAgent.DISCONNECTED)


async def test_reboot_boots_again(host: Host) -> None:
    vm = await host.booted(new_vm())
    booted = len(await host.ports.consoles.log(vm.id))
    await host.ports.machine.reboot(vm.id)
    await host.until(lambda: host.ports.consoles.log(vm.id), lambda log: len(log) > booted)
    await host.until(lambda: state(host, vm), lambda now: now is VmState.RUNNING)


@pytest.mark.parametrize(
    ("act", "kind", "expected", "reason"),
    [
        ("off", "guest_shutdown", VmState.STOPPED, StateReason.GUEST_SHUTDOWN),
        ("panic", "guest_panic", VmState.CRASHED, StateReason.GUEST_PANIC),
        ("die", "qemu_died", VmState.CRASHED, StateReason.QEMU_DIED),
    ],
)
async def test_what_a_guest_does_is_told_within_a_second_and_seen(host: Host, act: str, kind: str, expected: VmState, reason: StateReason) -> None:
    vm = await host.booted(new_vm())
    events = host.ports.machine.events()
    await host.guest(vm.id, act)
    asked = time.monotonic()
    await host.event(events, vm.id, kind)
    assert time.monotonic() - asked < 1
    assert await end(host, vm, expected) is reason
    assert (await seen_of(host, vm)).started_at == 0
    await host.ports.machine.start(vm)
    seen = await seen_of(host, vm)
    assert (seen.state, seen.started_at > 0) == (VmState.RUNNING, True)


async def test_failed_memory_is_told(host: Host) -> None:
    """A guest that does not take machine checks yet, such as ours, is reset by its CPU."""
    vm = await host.booted(new_vm())
    events = host.ports.machine.events()
    await host.guest(vm.id, "hurt")
    told = await host.event(events, vm.id, "memory_failure")
    assert told.detail.startswith("memory of the guest failed: the guest ")
    assert await state(host, vm) is VmState.RUNNING


async def test_a_reboot_from_inside_is_told(host: Host) -> None:
    vm = await host.booted(new_vm())
    events = host.ports.machine.events()
    await host.guest(vm.id, "reboot")
    await host.event(events, vm.id, "guest_reboot")
    assert await state(host, vm) is VmState.RUNNING


async def test_an_agents_restart_changes_nothing(host: Host) -> None:
    vm = await host.booted(new_vm())
    before = await seen_of(host, vm)
    await host.reopen()
    after = await seen_of(host, vm)
    assert after.started_at == pytest.approx(before.started_at, abs=0.001)
    assert replace(after, started_at=0) == replace(before, started_at=0)


async def test_libvirt_goes_and_comes_back(host: Host) -> None:
    vm = await host.booted(new_vm())
    before = await seen_of(host, vm)
    events = host.ports.machine.events()
    await host.lose_libvirt()
    await host.event(events, None, "connection_lost")
    for act in (host.ports.machine.observe, lambda: host.ports.machine.start(vm), lambda: host.ports.networks.ensure(NETWORK), host.ports.networks.seen):
        with pytest.raises(Unavailable) as caught:
            await act()
        assert caught.value.code == "libvirt_away"
    assert not (await host.ports.probe.load()).libvirt_connected
    console = await host.ports.consoles.serial(vm.id)
    await console.write(b"x")
    assert b"x" in await console.read()
    await console.close()
    await host.restore_libvirt()
    await host.event(events, None, "connection_back")
    assert (await host.ports.probe.load()).libvirt_connected
    after = await seen_of(host, vm)
    assert after.started_at == pytest.approx(before.started_at, abs=0.001)
    assert after.state is VmState.RUNNING
    await host.guest(vm.id, "off")
    await host.event(events, vm.id, "guest_shutdown")


async def test_a_card_needs_its_network(host: Host) -> None:
    vm = await host.have_disk(with_nic(new_vm()))
    with pytest.raises(Failed):
        await host.ports.machine.start(vm)
    assert vm.id not in await host.ports.machine.observe()
    await host.ports.networks.ensure(NETWORK)
    await host.ports.machine.start(vm)
    assert await state(host, vm) is VmState.RUNNING


async def test_silence_of_a_guest_agent_is_no_error(host: Host) -> None:
    vm = await host.have_disk(with_nic(new_vm()))
    await host.ports.networks.ensure(NETWORK)
    await host.ports.machine.start(vm, paused=True)
    for vm_id in (vm.id, NOBODY):
        assert await host.ports.guests.ping(vm_id) is False
        assert await host.ports.guests.addresses(vm_id) == ()


async def test_load_counts_running_vms(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    assert (await host.ports.probe.load()).vms_running == 0
    await host.ports.machine.start(vm)
    assert (await host.ports.probe.load()).vms_running == 1
    assert IMAGE.id in await host.ports.disks.images()
