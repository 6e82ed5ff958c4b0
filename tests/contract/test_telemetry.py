"""The port Telemetry: what every machine tells of the VMs that run on it."""

import asyncio

import pytest

from contract.hosts import NETWORK, Host, new_vm, with_nic
from houyi.model.errors import Conflict, Unavailable
from houyi.planning.latency import KINDS
from houyi.planning.telemetry import flat, rates


async def test_counters_of_what_runs_go_on(host: Host) -> None:
    await host.ports.networks.ensure(NETWORK)
    vm = await host.booted(with_nic(new_vm(vcpus=2)))
    off = new_vm()
    await host.have_disk(off)
    first = (await host.ports.telemetry.counters())[vm.id]
    assert (first.vm_id, len(first.vcpus), [disk.name for disk in first.disks][:1], [nic.name for nic in first.nics]) == (vm.id, 2, ["vda"], ["nic0"])
    assert first.whole
    assert first.kvm is False
    assert not any(vcpu.kvm for vcpu in first.vcpus), "without KVM there is nothing that could exit"
    assert first.memory.current_mib == 64
    assert first.memory.rss_mib > 0

    async def later() -> float:
        now = (await host.ports.telemetry.counters())[vm.id]
        found = rates(first, now)
        return 0.0 if found is None else found.cpu

    assert 0 < await host.until(later, lambda cpu: cpu > 0) < 32
    one = await host.ports.telemetry.counters_of(vm.id)
    assert one.run == first.run
    before, now = flat(first), flat(one)
    assert {"cpu_seconds", "vcpu_delay_seconds", "disk_read_bytes", "nic_received_packets"} <= now.keys()
    assert all(now[name] >= value for name, value in before.items())
    assert set(await host.ports.telemetry.counters()) == {vm.id}
    with pytest.raises(Conflict, match="not running"):
        await host.ports.telemetry.counters_of(off.id)


async def test_another_start_is_another_run(host: Host) -> None:
    vm = await host.booted(new_vm())
    first = await host.ports.telemetry.counters_of(vm.id)
    await host.ports.machine.destroy(vm.id)
    with pytest.raises(Conflict):
        await host.ports.telemetry.counters_of(vm.id)
    await host.ports.machine.start(vm)
    again = await host.ports.telemetry.counters_of(vm.id)
    assert again.run != first.run
    assert rates(first, again) is None


async def test_a_paused_guest_is_counted(host: Host) -> None:
    vm = await host.booted(new_vm())
    await host.ports.machine.suspend(vm.id)
    first = (await host.ports.telemetry.counters())[vm.id]

    async def later() -> float | None:
        found = rates(first, (await host.ports.telemetry.counters())[vm.id])
        return None if found is None else found.vcpus[0].cpu

    assert await host.until(later, lambda cpu: cpu is not None) == 0


async def test_how_long_disks_take(host: Host) -> None:
    vm, off = await host.booted(new_vm()), new_vm()
    telemetry = host.ports.telemetry

    async def requests() -> int:
        looking = asyncio.create_task(telemetry.latency(vm.id, 0.5))

        async def done() -> bool:
            return looking.done()

        await host.until(done)
        found = await looking
        assert (found.vm_id, found.disks[0].name, found.seconds >= 0.5) == (vm.id, "vda", True)
        return sum(sum(getattr(disk, kind)) for disk in found.disks for kind in KINDS)

    await requests()
    if host.real:
        await host.ports.machine.reset(vm.id)  # a guest that starts reads its disk
    assert await host.until(requests)
    for one, seconds, code in ((off, 1.0, "not_running"), (vm, 61.0, "latency_too_long")):
        with pytest.raises(Conflict) as refused:
            await telemetry.latency(one.id, seconds)
        assert refused.value.code == code


async def test_without_libvirt_nothing_is_told(host: Host) -> None:
    vm = await host.booted(new_vm())
    await host.lose_libvirt()
    with pytest.raises(Unavailable):
        await host.ports.telemetry.counters()
    await host.restore_libvirt()
    assert vm.id in await host.until(host.ports.telemetry.counters)


async def test_under_tcg_there_is_nothing_to_trace(host: Host) -> None:
    vm = await host.booted(new_vm())
    off = new_vm()
    for one, code in ((vm, "no_vm_exits"), (off, "not_running")):
        with pytest.raises(Conflict) as refused:
            await host.ports.tracing.profile(one.id, 1.0)
        assert refused.value.code == code
    with pytest.raises(Conflict) as refused:
        await host.ports.tracing.profile(vm.id, 61.0)
    assert refused.value.code == "trace_too_long"
    await host.ports.tracing.clear()
