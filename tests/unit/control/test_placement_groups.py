"""Placement groups from the wish to the host."""

import pytest

from desk import Desk
from houyi.control.commands.host import update_host_desired
from houyi.control.commands.placement_group import create_placement_group, delete_placement_group
from houyi.control.commands.vm import delete_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.placements import explain
from houyi.control.reconcilers.placement import place_vms
from houyi.model.errors import Conflict, HouyiError, Invalid, NoCapacity, NotFound
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength, PlacementGroupSpec
from houyi.model.vm import Vm
from houyi.store.views.vm import get_vm
from made import put_host

APART = PlacementGroupSpec(policy=GroupPolicy.ANTI_AFFINITY)


async def create(desk: Desk, name: str, group: str = "web", **values: object) -> Vm:
    ask = VmAsk(name=name, image="tiny", vcpus=1, memory_mib=128, placement_group=group, **values)  # type: ignore[arg-type]
    return (await create_vm(desk.control, desk.me, ask))[0]


async def host_of(desk: Desk, name: str) -> str | None:
    return (await desk.store.read(lambda c: get_vm(c, name, None))).host_id


async def refused(kind: type[HouyiError], code: str, doing: object) -> HouyiError:
    with pytest.raises(kind) as caught:
        await doing  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value


async def test_two_that_shall_be_apart_are(desk: Desk) -> None:
    second = await put_host(desk.store, "h2", at=desk.clock.now())
    group = await create_placement_group(desk.control, desk.me, "web", APART)
    assert (await create(desk, "one")).desired.spec.placement_group_id == group.id
    await create(desk, "two")
    await place_vms(desk.control)
    assert {await host_of(desk, "one"), await host_of(desk, "two")} == {desk.host_id, second}
    no = await refused(NoCapacity, "no_capacity", create(desk, "three"))
    assert "2 hosts: the placement group's rule forbids it" in no.detail
    await delete_vm(desk.control, desk.me, "one")
    await refused(Conflict, "placement_group_in_use", delete_placement_group(desk.control, desk.me, "web"))


async def test_many_that_were_let_in_before_any_was_placed(desk: Desk) -> None:
    """The rule holds within one pass, and those beyond it wait."""
    await put_host(desk.store, "h2", at=desk.clock.now())
    await create_placement_group(desk.control, desk.me, "web", APART)
    for number in range(4):
        await create(desk, f"vm{number}")
        desk.clock.at += 1.0
    await place_vms(desk.control)
    placed = [await host_of(desk, f"vm{number}") for number in range(4)]
    assert len(set(placed[:2])) == 2
    assert placed[2:] == [None, None]


async def test_racks_are_labels_of_hosts(desk: Desk) -> None:
    second = await put_host(desk.store, "h2", at=desk.clock.now())
    spec = PlacementGroupSpec(policy=GroupPolicy.AFFINITY, strength=GroupStrength.HARD, scope=FaultDomain.RACK)
    await create_placement_group(desk.control, desk.me, "web", spec)
    no = await refused(NoCapacity, "no_capacity", create(desk, "one"))
    assert "2 hosts: the placement group's rule forbids it" in no.detail
    await update_host_desired(desk.control, desk.admin, "h2", labels={"rack": "r1"})
    for name in ("one", "two"):
        await create(desk, name)
    await place_vms(desk.control)
    assert [await host_of(desk, name) for name in ("one", "two")] == [second, second]


async def test_labels_and_storage_that_a_host_must_have(desk: Desk) -> None:
    second = await put_host(desk.store, "h2", at=desk.clock.now())
    await update_host_desired(desk.control, desk.admin, "h2", labels={"disk": "ssd"})
    await create(desk, "fast", "", host_labels={"disk": "ssd"})
    await place_vms(desk.control)
    assert await host_of(desk, "fast") == second
    no = await refused(NoCapacity, "no_capacity", create(desk, "faster", "", host_labels={"disk": "nvme"}))
    assert "2 hosts: labels differ" in no.detail
    no = await refused(NoCapacity, "no_capacity", create(desk, "shared", "", storage="nfs"))
    assert "2 hosts: the shared folder is not there" in no.detail
    await refused(Invalid, "name_invalid", create(desk, "bad", "", storage="../etc"))
    await refused(Invalid, "labels_invalid", create(desk, "bad", "", host_labels={"": "x"}))


async def test_groups_belong_to_projects(desk: Desk) -> None:
    group = await create_placement_group(desk.control, desk.me, "web", APART)
    await create_placement_group(desk.control, desk.them, "web", APART)
    await refused(Conflict, "name_taken", create_placement_group(desk.control, desk.me, "web", APART))
    await refused(Invalid, "name_invalid", create_placement_group(desk.control, desk.me, "Web!", APART))
    await refused(NotFound, "placement_group_not_found", delete_placement_group(desk.control, desk.them, group.id))
    await refused(NotFound, "placement_group_not_found", create(desk, "one", "nosuch"))
    await delete_placement_group(desk.control, desk.me, "web")
    await refused(NotFound, "placement_group_not_found", delete_placement_group(desk.control, desk.me, "web"))


async def test_a_vm_that_is_placed_is_explained_as_if_it_were_not(desk: Desk) -> None:
    """It fills its host, and is alone in its group: both could not be said of a second one."""
    await create_placement_group(desk.control, desk.me, "web", APART)
    ask = VmAsk(name="one", image="tiny", vcpus=4, memory_mib=7616, placement_group="web")
    await create_vm(desk.control, desk.me, ask)
    await place_vms(desk.control)
    vm = await desk.store.read(lambda c: get_vm(c, "one", None))
    choice = await explain(desk.control, vm)
    assert (choice.host_id, choice.left) == (desk.host_id, {"vcpu": 4, "memory_mib": 7680, "disk_gib": 100})
    no = await refused(NoCapacity, "no_capacity", create(desk, "two"))
    assert "1 host: not enough left; asked vcpu 1, memory_mib 192, disk_gib 1, left at most vcpu 0, memory_mib 0" in no.detail
