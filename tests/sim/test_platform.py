"""The circle, whole: a wish at the server becomes true on a host, and what happens there is seen at the server, whoever dies in between."""

import asyncio

import pytest

from houyi.control.commands.host import remove_host, update_host_desired
from houyi.control.commands.vm import delete_vm, pause_vm, reboot_vm, resume_vm, start_vm, stop_vm
from houyi.model.errors import Conflict, Failed, NoCapacity, NotFound
from houyi.model.host import HostState, effective_host
from houyi.model.operation import OperationState
from houyi.model.vm import EffectiveState, Power, StopMode, VmState
from houyi.planning.spec import LABELS_MAX, SSH_KEYS_BYTES_MAX, USER_DATA_BYTES_MAX, check_spec
from houyi.store.claims import claim_host
from houyi.store.rows.vm import insert_vm
from houyi.store.views.event import list_events
from houyi.store.views.host import desired_of
from houyi.store.views.page import EVERYTHING
from houyi.wire.agents import MAX_DESIRED_BYTES, MAX_MESSAGE_BYTES, Desired, encode
from made import a_vm, an_image
from sim.whole import Platform

pytestmark = pytest.mark.anyio


async def test_a_life(both: Platform) -> None:
    host = await both.add_host("one")
    await both.add_image()
    vm_id = await both.running("hello")
    vm = await both.vm("hello")
    assert vm.host_id == host.host_id
    assert vm.desired.epoch == 1
    assert vm.desired.nics[0].address.startswith("10.80.0.")
    assert host.sim.domains[vm_id].state is VmState.RUNNING
    for command, state in (
        (pause_vm, EffectiveState.PAUSED),
        (resume_vm, EffectiveState.RUNNING),
        (reboot_vm, EffectiveState.RUNNING),
        (stop_vm, EffectiveState.STOPPED),
        (start_vm, EffectiveState.RUNNING),
    ):
        await both.done(await command(both.control, both.ctx, "hello"))
        await both.until_state(vm_id, state)
    await both.done(await delete_vm(both.control, both.ctx, "hello"))
    with pytest.raises(NotFound):
        await both.vm("hello")
    assert (host.sim.domains, host.sim.disks, host.sim.seeds) == ({}, {}, {})
    assert set((await both.host(host)).claimed.values()) <= {0}
    events = (await both.server.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=vm_id))).items
    kinds = {event.kind for event in events}
    assert {"vm.create", "vm.placed", "vm.state", "vm.deleted"} <= kinds


async def test_a_host_full_of_the_largest_vms_still_hears(platform: Platform) -> None:
    """Whoever fills user-data and keys to their limits must not cut off the host for everybody else."""
    host = await platform.add_host("one")
    image = await platform.add_image()
    first = await platform.running("first")
    await host.kill()
    spec = {"user_data": "x" * USER_DATA_BYTES_MAX, "ssh_keys": ("k" * SSH_KEYS_BYTES_MAX,)}
    vms = [a_vm(image, f"large-{number}", project_id=platform.ctx.project_id, power=Power.STOPPED, spec=spec) for number in range(140)]
    await platform.server.store.apply([insert_vm(vm, False, 1.0) for vm in vms])
    await platform.server.store.apply([claim_host(vm, host.host_id, {}, {}, 1.0) for vm in vms])
    desired = await platform.server.store.read(lambda c: desired_of(c, host.host_id))
    assert len(encode(Desired(revision=1, vms=desired.vms, networks=desired.networks, images=desired.images))) > MAX_MESSAGE_BYTES
    host.start()
    await platform.done(await reboot_vm(platform.control, platform.ctx, first))


def test_a_thousand_of_the_largest_vms_fit_one_message() -> None:
    labels = {f"{number:02}".ljust(63, "k"): "é" * 255 for number in range(LABELS_MAX)}
    vm = a_vm(an_image(), spec={"user_data": "é" * (USER_DATA_BYTES_MAX // 2), "ssh_keys": ("k" * SSH_KEYS_BYTES_MAX,), "labels": labels})
    check_spec(vm.spec)
    assert len(encode(Desired(revision=1, vms=(vm,), networks=(), images=()))) * 1000 < MAX_DESIRED_BYTES


async def test_an_outage_of_the_server_stops_no_guest(both: Platform) -> None:
    host = await both.add_host("one")
    await both.add_image()
    steady, crashing = await both.running("steady"), await both.running("crashing")
    run = host.sim.domains[steady].run
    await both.server.kill()
    host.sim.guest_panic(crashing)

    async def restarted() -> bool:
        return host.sim.domains[crashing].state is VmState.RUNNING

    await both.until(restarted)  # the agent's own doing
    await both.server.start()
    await both.until_state(steady, EffectiveState.RUNNING)
    await both.until_state(crashing, EffectiveState.RUNNING)
    assert host.sim.domains[steady].run == run

    async def told() -> bool:
        events = await both.server.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=crashing))
        return {"vm.guest_panic", "vm.restarted"} <= {event.kind for event in events.items}

    await both.until(told)  # what happened during the outage, later
    await both.done(await stop_vm(both.control, both.ctx, "steady", mode=StopMode.FORCE))


async def test_an_operation_survives_the_server(both: Platform) -> None:
    host = await both.add_host("one")
    await both.add_image()
    await host.kill()
    _, operation = await both.create("later")
    await both.server.kill()
    await both.server.start()
    host.start()
    await both.done(operation)


async def test_an_agents_death_stops_no_guest_and_is_seen(platform: Platform) -> None:
    host = await platform.add_host("one")
    await platform.add_image()
    vm_id = await platform.running("hello")
    run = host.sim.domains[vm_id].run
    await host.kill()
    await platform.until_state(vm_id, EffectiveState.UNKNOWN)
    assert effective_host(await platform.host(host)) is HostState.UNREACHABLE
    assert host.sim.domains[vm_id].run == run
    stop = await stop_vm(platform.control, platform.ctx, "hello", mode=StopMode.FORCE)
    host.start()
    await platform.done(stop)
    await platform.until_state(vm_id, EffectiveState.STOPPED)


async def test_a_lost_host_is_removed_with_what_was_to_be_deleted_and_nothing_on_it_is_touched(platform: Platform) -> None:
    """Should it come back after all, it is refused, and its guests go on there: nobody has said that they did not."""
    host = await platform.add_host("one")
    await platform.add_image()
    vm_id = await platform.running("hello")
    run = host.sim.domains[vm_id].run
    await host.kill()
    await platform.until_state(vm_id, EffectiveState.UNKNOWN)
    deletion = await delete_vm(platform.control, platform.ctx, "hello")
    with pytest.raises(Conflict, match="has not deleted 1 VM"):
        await remove_host(platform.control, platform.ctx, "one")
    await remove_host(platform.control, platform.ctx, "one", lost=True)
    await platform.done(deletion)
    host.start()
    await asyncio.sleep(1.0)
    with pytest.raises(NotFound):
        await platform.host(host)
    assert host.sim.domains[vm_id].run == run


async def test_what_a_guest_does_is_seen(platform: Platform) -> None:
    host = await platform.add_host("one")
    await platform.add_image()
    vm_id = await platform.running("hello")
    host.sim.guest_shutdown(vm_id)
    await platform.until_state(vm_id, EffectiveState.STOPPED)
    await platform.done(await start_vm(platform.control, platform.ctx, "hello"))
    assert host.sim.domains[vm_id].state is VmState.RUNNING


async def test_a_failure_on_the_host_is_the_operations_failure(platform: Platform) -> None:
    host = await platform.add_host("one")
    await platform.add_image()
    host.sim.fail_next("start", Failed("libvirt_failed", "no such machine type"))
    vm_id, operation = await platform.create("hello")
    ended = await platform.ended(operation)
    assert ended.state is OperationState.FAILED
    assert ended.error is not None
    assert ended.error.code == "libvirt_failed"
    await platform.until_state(vm_id, EffectiveState.ERROR)
    await platform.done(await start_vm(platform.control, platform.ctx, "hello"))
    await platform.until_state(vm_id, EffectiveState.RUNNING)


async def test_vms_go_where_there_is_room_and_no_further(platform: Platform) -> None:
    one, two = await platform.add_host("one"), await platform.add_host("two")
    await platform.add_image()
    for number in range(4):
        await platform.running(f"vm-{number}", memory_mib=2048)
    assert (len(one.sim.domains), len(two.sim.domains)) == (2, 2)
    with pytest.raises(NoCapacity) as refused:
        await platform.create("one-more", memory_mib=2048)
    assert refused.value.extra["asked"]["memory_mib"] >= 2048


async def test_no_vm_comes_to_a_cordoned_host(platform: Platform) -> None:
    one, two = await platform.add_host("one"), await platform.add_host("two")
    await platform.add_image()
    await update_host_desired(platform.control, platform.ctx, "one", cordoned=True)
    for number in range(3):
        await platform.running(f"vm-{number}")
    assert (len(one.sim.domains), len(two.sim.domains)) == (0, 3)


async def test_many_at_once(platform: Platform) -> None:
    hosts = [await platform.add_host("one"), await platform.add_host("two")]
    await platform.add_image()
    made = await asyncio.gather(*(platform.create(f"vm-{number}", memory_mib=128) for number in range(24)))
    await asyncio.gather(*(platform.done(operation) for _, operation in made))
    assert sum(len(host.sim.domains) for host in hosts) == 24
    addresses = {(await platform.vm(vm_id)).desired.nics[0].address for vm_id, _ in made}
    assert len(addresses) == 24
    deleted = [await delete_vm(platform.control, platform.ctx, vm_id) for vm_id, _ in made]
    await asyncio.gather(*(platform.done(operation) for operation in deleted))
    assert all(not host.sim.domains and not host.sim.disks for host in hosts)


async def test_a_host_with_vms_cannot_be_removed_and_one_without_is_not_heard_again(platform: Platform) -> None:
    host = await platform.add_host("one")
    await platform.add_image()
    await platform.running("hello")
    with pytest.raises(Conflict):
        await remove_host(platform.control, platform.ctx, "one")
    await platform.done(await delete_vm(platform.control, platform.ctx, "hello"))
    await remove_host(platform.control, platform.ctx, "one")
    await host.kill()
    host.start()
    await asyncio.sleep(1.0)
    with pytest.raises(NotFound):
        await platform.host(host)
