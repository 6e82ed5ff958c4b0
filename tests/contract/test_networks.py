"""What every Networks does: one suite, run on the simulated and on the real one."""

from dataclasses import replace

import pytest

from contract.hosts import NETWORK, Host, new_vm, with_nic
from houyi.model.errors import Failed
from houyi.model.ids import NetworkId
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec, Reservation
from houyi.model.vm import VmState

BRIDGED = DesiredNetwork(id=NetworkId("00000020-0000-4000-8000-000000000001"), name="lan", spec=NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br7"))


async def test_ensure_and_remove_repeated(host: Host) -> None:
    assert await host.ports.networks.seen() == frozenset()
    await host.ports.networks.ensure(NETWORK)
    await host.ports.networks.ensure(NETWORK)
    assert await host.ports.networks.seen() == {NETWORK.id}
    await host.ports.networks.remove(NETWORK.id)
    await host.ports.networks.remove(NETWORK.id)
    assert await host.ports.networks.seen() == frozenset()


async def test_reservations_change_under_a_running_guest(host: Host) -> None:
    first = Reservation(mac="52:54:00:00:00:09", address="10.80.0.9", name="one")
    await host.ports.networks.ensure(replace(NETWORK, reservations=(first,)))
    vm = await host.have_disk(with_nic(new_vm()))
    await host.ports.machine.start(vm)
    swapped = (replace(first, address="10.80.0.10"), Reservation(mac="52:54:00:00:00:0a", address="10.80.0.9", name="two"))
    for reservations in (swapped, swapped, (), (first,)):
        await host.ports.networks.ensure(replace(NETWORK, reservations=reservations))
    assert (await host.ports.machine.observe())[vm.id].state is VmState.RUNNING


async def test_two_vms_of_one_name(host: Host) -> None:
    twins = tuple(Reservation(mac=f"52:54:00:00:00:0{n}", address=f"10.80.0.{n}", name="twin") for n in (5, 6))
    await host.ports.networks.ensure(replace(NETWORK, reservations=twins))
    await host.ports.networks.ensure(replace(NETWORK, reservations=twins[1:]))
    await host.ports.networks.ensure(replace(NETWORK, reservations=twins))


async def test_a_bridge_must_be_there(host: Host) -> None:
    absent = replace(BRIDGED, spec=replace(BRIDGED.spec, bridge="br-absent"))
    with pytest.raises(Failed) as caught:
        await host.ports.networks.ensure(absent)
    assert caught.value.code == "bridge_missing"
    assert await host.ports.networks.seen() == frozenset()


async def test_a_card_on_a_bridge(host: Host) -> None:
    host.make_bridge("br7")
    await host.ports.networks.ensure(BRIDGED)
    vm = await host.have_disk(with_nic(new_vm(), BRIDGED, ""))
    await host.ports.machine.start(vm)
    assert (await host.ports.machine.observe())[vm.id].state is VmState.RUNNING
