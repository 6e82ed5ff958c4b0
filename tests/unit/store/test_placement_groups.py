"""Placement groups: their hard rule holds in every claim's own transaction, whoever chose, and however many claim at once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleets import a_group
from houyi.model.errors import Conflict, HouyiError, NotFound, Stale
from houyi.model.ids import HostId, PlacementGroupId
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength, PlacementGroup
from houyi.model.vm import DesiredVm
from houyi.store.claims import claim_host
from houyi.store.rows.host import update_host
from houyi.store.rows.placement_group import delete_placement_group, insert_placement_group
from houyi.store.rows.project import delete_project
from houyi.store.rows.vm import insert_vm, remove_vm
from houyi.store.store import Store
from houyi.store.views.placement_group import get_placement_group, members_by_host, placement_groups_by_id
from houyi.store.views.vm import get_vm
from made import MINE, OTHER, a_vm, new_id, put_host, put_image, put_projects

ROOM = {"vcpu": 100}
APART, NEAR = GroupPolicy.ANTI_AFFINITY, GroupPolicy.AFFINITY


async def a_stored_group(
    store: Store, policy: GroupPolicy, strength: GroupStrength = GroupStrength.HARD, scope: FaultDomain = FaultDomain.HOST
) -> PlacementGroup:
    group = replace(a_group(policy, strength, scope), id=PlacementGroupId(new_id()))
    await store.apply([insert_placement_group(group)])
    return await store.read(lambda c: get_placement_group(c, group.name, MINE))


async def vms_in(store: Store, group: PlacementGroup, count: int) -> list[DesiredVm]:
    image = await put_image(store)
    vms = [a_vm(image, f"vm{number}", spec={"placement_group_id": group.id}) for number in range(count)]
    await store.apply([insert_vm(vm, False, 1.0) for vm in vms])
    return vms


async def racks(store: Store) -> list[HostId]:
    """a0, a1 in rack a; b0 in rack b; one without a rack."""
    await put_projects(store)
    hosts = [await put_host(store, name) for name in ("a0", "a1", "b0", "none")]
    await store.apply([update_host(host, cordoned=False, drain_id=None, labels={"rack": name}) for host, name in zip(hosts, "aab", strict=False)])
    return hosts


async def tried(store: Store, vm: DesiredVm, host_id: HostId) -> str:
    try:
        await store.apply([claim_host(vm, host_id, {"vcpu": 1}, ROOM, 5.0)])
    except Stale as refused:
        return refused.code if "placement group 'group' forbids it" in refused.detail else refused.detail
    return ""


BROKEN = "placement_group_broken"


@pytest.mark.parametrize(
    ("policy", "strength", "scope", "tries"),
    [
        (APART, GroupStrength.HARD, FaultDomain.HOST, [(0, ""), (0, BROKEN), (1, ""), (3, "")]),
        (APART, GroupStrength.HARD, FaultDomain.RACK, [(0, ""), (1, BROKEN), (3, BROKEN), (2, "")]),
        (NEAR, GroupStrength.HARD, FaultDomain.HOST, [(1, ""), (0, BROKEN), (1, "")]),
        (NEAR, GroupStrength.HARD, FaultDomain.RACK, [(3, BROKEN), (1, ""), (2, BROKEN), (0, "")]),
        (APART, GroupStrength.SOFT, FaultDomain.HOST, [(0, ""), (0, "")]),
        (NEAR, GroupStrength.SOFT, FaultDomain.RACK, [(0, ""), (2, ""), (3, "")]),
    ],
)
async def test_a_hard_rule_is_looked_at_again_where_the_claim_is_written(
    store: Store, policy: GroupPolicy, strength: GroupStrength, scope: FaultDomain, tries: list[tuple[int, str]]
) -> None:
    hosts = await racks(store)
    group = await a_stored_group(store, policy, strength, scope)
    vms = await vms_in(store, group, len(tries))
    assert [await tried(store, vm, hosts[number]) for vm, (number, _) in zip(vms, tries, strict=True)] == [code for _, code in tries]


async def test_a_place_is_free_again_when_its_vm_is_gone(store: Store) -> None:
    hosts = await racks(store)
    group = await a_stored_group(store, APART)
    first, second = await vms_in(store, group, 2)
    assert (await tried(store, first, hosts[0]), await tried(store, second, hosts[0])) == ("", BROKEN)
    assert await store.read(lambda c: members_by_host(c, [group.id])) == {group.id: {hosts[0]: 1}}
    assert await store.read(lambda c: members_by_host(c, [group.id], without=first.id)) == {}
    await store.apply([remove_vm(first.id, first.project_id)])
    assert await tried(store, second, hosts[0]) == ""


async def test_a_group_goes_after_its_vms_and_with_its_project(store: Store) -> None:
    await put_projects(store)
    group = await a_stored_group(store, APART)
    (vm,) = await vms_in(store, group, 1)
    with pytest.raises(Conflict) as caught:
        await store.apply([delete_placement_group(group)])
    assert caught.value.code == "in_use"
    await store.apply([remove_vm(vm.id, vm.project_id), delete_placement_group(group)])
    with pytest.raises(NotFound) as missing:
        await store.read(lambda c: get_placement_group(c, group.id, None))
    assert missing.value.code == "placement_group_not_found"
    with pytest.raises(Conflict):
        await vms_in(store, group, 1)
    theirs = replace(group, project_id=OTHER)
    await store.apply([insert_placement_group(theirs)])
    await store.apply([delete_project(OTHER)])
    assert await store.read(lambda c: placement_groups_by_id(c, [theirs.id])) == {}


async def test_two_servers_never_break_a_hard_rule(new_url: Callable[[str], str]) -> None:
    """Each tries to put every VM of three groups on every host, all at once, without looking."""
    url = new_url("postgres")
    servers = [await Store.open(url), await Store.open(url)]
    hosts = await racks(servers[0])
    groups = [
        await a_stored_group(servers[0], APART, scope=FaultDomain.RACK),
        replace(a_group(NEAR, scope=FaultDomain.HOST, name="near"), id=PlacementGroupId(new_id())),
        replace(a_group(APART, scope=FaultDomain.HOST, name="apart"), id=PlacementGroupId(new_id())),
    ]
    await servers[0].apply([insert_placement_group(group) for group in groups[1:]])
    image = await put_image(servers[0])
    vms = {group.name: [a_vm(image, f"{group.name}{n}", spec={"placement_group_id": group.id}) for n in range(12)] for group in groups}
    await servers[0].apply([insert_vm(vm, False, 1.0) for some in vms.values() for vm in some])

    codes = set()

    async def place(server: Store, vm: DesiredVm, host_id: HostId) -> None:
        try:
            await server.apply([claim_host(vm, host_id, {"vcpu": 1}, ROOM, 5.0)])
        except HouyiError as refused:
            codes.add(refused.code)

    await asyncio.gather(
        *(place(servers[(n + m) % 2], vm, hosts[(n + m) % 4]) for some in vms.values() for n, vm in enumerate(some) for m in range(4)),
    )
    assert codes == {BROKEN, "placed_already"}
    where = {name: [(await servers[1].read(lambda c, vm=vm: get_vm(c, vm.id, None))).host_id for vm in some] for name, some in vms.items()}  # type: ignore[misc]
    placed = {name: [hosts.index(host) for host in some if host is not None] for name, some in where.items()}
    assert sorted("aab"[n] for n in placed["group"]) == ["a", "b"]
    assert sorted(placed["apart"]) == [0, 1, 2, 3]
    assert (len(placed["near"]), len(set(placed["near"]))) == (12, 1)
    for server in servers:
        await server.close()
