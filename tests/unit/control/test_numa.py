"""A VM on a host with two NUMA nodes: fitted when it is placed, claimed by node, told to its host, and kept when it is resized."""

import pytest

from desk import Desk
from houyi.control.commands.vm import VmChanges, start_vm, update_vm_desired
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.host import take_hello
from houyi.control.reconcilers.placement import place_vms
from houyi.model.errors import NoCapacity
from houyi.model.host import NumaNode
from houyi.model.vm import VmState
from houyi.store.claims import claimed_on
from houyi.store.rows.vm import put_observed
from houyi.store.views.host import desired_of
from houyi.store.views.vm import get_vm
from made import an_observation, facts

NODES = (NumaNode(number=0, cpus=(0, 1), memory_mib=4096), NumaNode(number=1, cpus=(2, 3), memory_mib=4096))


async def by_node(desk: Desk) -> dict[str, int]:
    claimed = await desk.store.read(lambda c: claimed_on(c, desk.host_id))
    return {name: amount for name, amount in sorted(claimed.items()) if "@" in name and amount}


async def make(desk: Desk, name: str, vcpus: int, memory_mib: int) -> tuple[int, ...]:
    await create_vm(desk.control, desk.me, VmAsk(name=name, image="tiny", vcpus=vcpus, memory_mib=memory_mib, start=False))
    await place_vms(desk.control)
    return (await desk.store.read(lambda c: get_vm(c, name, None))).desired.numa_nodes


async def test_it_is_fitted_to_nodes_and_stays_there(desk: Desk) -> None:
    await take_hello(desk.control, desk.host_id, "i2", facts(cpus=4, memory_mib=8192, numa=NODES))
    assert await make(desk, "one", 1, 1000) == (0,)
    assert await make(desk, "two", 2, 2000) == (1,)
    assert await by_node(desk) == {"memory_mib@0": 1064, "memory_mib@1": 2064, "vcpu@0": 1, "vcpu@1": 2}
    (one, _) = (await desk.store.read(lambda c: desired_of(c, desk.host_id))).vms
    assert (one.name, one.numa_nodes, one.epoch) == ("one", (0,), 1)
    await update_vm_desired(desk.control, desk.me, "one", VmChanges(memory_mib=2500))
    assert await by_node(desk) == {"memory_mib@0": 2564, "memory_mib@1": 2064, "vcpu@0": 1, "vcpu@1": 2}
    with pytest.raises(NoCapacity) as caught:
        await update_vm_desired(desk.control, desk.me, "one", VmChanges(memory_mib=3900))
    assert set(caught.value.extra["short"]) == {"memory_mib@0"}, "the host has the room, its node has not"
    await update_vm_desired(desk.control, desk.me, "one", VmChanges(memory_mib=500))
    assert (await by_node(desk))["memory_mib@0"] == 2564, "it may still run with that"
    await desk.store.apply([put_observed(desk.host_id, one.project_id, an_observation(one, VmState.STOPPED))])
    await start_vm(desk.control, desk.me, "one")
    assert await by_node(desk) == {"memory_mib@0": 564, "memory_mib@1": 2064, "vcpu@0": 1, "vcpu@1": 2}


async def test_one_larger_than_a_node_is_on_both(desk: Desk) -> None:
    await take_hello(desk.control, desk.host_id, "i2", facts(cpus=4, memory_mib=8192, numa=NODES))
    assert await make(desk, "large", 3, 5000) == (0, 1)
    assert await by_node(desk) == {"memory_mib@0": 2532, "memory_mib@1": 2532, "vcpu@0": 2, "vcpu@1": 1}
    with pytest.raises(NoCapacity, match="1 host: not enough left on its NUMA nodes; asked vcpu 1, memory_mib 2064"):
        await create_vm(desk.control, desk.me, VmAsk(name="more", image="tiny", vcpus=1, memory_mib=2000))
