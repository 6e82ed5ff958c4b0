"""The contract of CPUs: what a machine says that guests can have, what several CPUs have in common, and what a guest that was started so has."""

from dataclasses import replace

import pytest

from contract.hosts import Host, new_vm
from contract.pairs import Machines
from houyi.model.cpu import GuestCpu
from houyi.model.errors import Failed
from houyi.model.ids import VmId
from houyi.model.migration import Presence, Terms
from houyi.model.vm import DesiredVm

TAKEN = "ssse3"
"""What the older of two CPUs lacks."""
NOWHERE = "avx512f"
"""No emulated CPU has it."""


async def best(host: Host) -> GuestCpu:
    facts = await host.ports.probe.facts()
    assert facts.guest_cpu is not None
    return facts.guest_cpu


def older(cpu: GuestCpu) -> GuestCpu:
    return replace(cpu, required=tuple(name for name in cpu.required if name != TAKEN), disabled=tuple(sorted({*cpu.disabled, TAKEN})))


async def features(host: Host, vm_id: VmId) -> tuple[str, ...]:
    return (await host.ports.machine.observe())[vm_id].cpu_features


async def started(host: Host, vm: DesiredVm) -> tuple[str, ...]:
    await host.have_disk(vm)
    await host.ports.machine.start(vm)
    return await features(host, vm.id)


async def test_one_cpu_has_everything_in_common_with_itself(host: Host) -> None:
    facts = await host.ports.probe.facts()
    baseline = await host.ports.probe.baseline([await best(host)])
    assert baseline.features == facts.cpu_features
    assert baseline.features == tuple(sorted(set(baseline.features)))
    assert TAKEN in baseline.features


async def test_what_an_older_one_lacks_is_left_out(host: Host) -> None:
    new = await best(host)
    baseline = await host.ports.probe.baseline([new, older(new)])
    facts = await host.ports.probe.facts()
    assert set(facts.cpu_features) - set(baseline.features) == {TAKEN}
    assert baseline == await host.ports.probe.baseline([older(new), new]), "in whatever order they are named"


async def test_makers_that_have_nothing_in_common(host: Host) -> None:
    new = await best(host)
    with pytest.raises(Failed, match="vendors"):
        await host.ports.probe.baseline([replace(new, vendor="AMD"), GuestCpu(model="Westmere", vendor="Intel")])


async def test_a_guest_has_what_its_pool_has(host: Host) -> None:
    new = await best(host)
    baseline = await host.ports.probe.baseline([new, older(new)])
    vm = replace(new_vm(), cpu=baseline.cpu)
    assert await started(host, vm) == baseline.features
    await host.ports.machine.start(replace(vm, cpu=new))
    assert await features(host, vm.id) == baseline.features, "who runs keeps the CPU that it was started with"


async def test_a_guest_has_what_it_asks_for_beside(host: Host) -> None:
    new = await best(host)
    baseline = await host.ports.probe.baseline([new, older(new)])
    vm = replace(new_vm(cpu_features=(TAKEN,)), cpu=baseline.cpu)
    assert set(await started(host, vm)) - set(baseline.features) == {TAKEN}


async def test_what_cannot_be_had_is_refused_by_name(host: Host) -> None:
    vm = replace(new_vm(cpu_features=(NOWHERE,)), cpu=(await host.ports.probe.baseline([await best(host)])).cpu)
    await host.have_disk(vm)
    with pytest.raises(Failed, match=NOWHERE):
        await host.ports.machine.start(vm)


async def test_two_machines_agree_and_a_guest_goes_between_them(machines: Machines) -> None:
    new, other = await best(machines.source), await best(machines.destination)
    cpus = [new, older(other)]
    baseline = await machines.source.ports.probe.baseline(cpus)
    assert await machines.destination.ports.probe.baseline(cpus) == baseline
    vm = replace(new_vm(), cpu=baseline.cpu)
    assert await started(machines.source, vm) == baseline.features
    moved, landing = await machines.landing(vm)
    terms = Terms(throttles=False)
    async with machines.way(moved, landing, terms) as way:
        await machines.source.ports.mover.send(moved, landing, way.path, terms)
    await machines.destination.ports.mover.go(vm.id, run=True)
    assert (await machines.destination.ports.mover.presences([vm.id]))[vm.id] is Presence.LIVE
    assert await features(machines.destination, vm.id) == baseline.features
