"""Claims: never more than a host has, however many servers place at once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from houyi.model.errors import HouyiError, NoCapacity, NotFound, Stale
from houyi.model.ids import HostId
from houyi.model.vm import DesiredVm
from houyi.store.claims import claim_host, claimed_on, grow_claim, settle_claim
from houyi.store.rows.host import update_host
from houyi.store.rows.vm import insert_vm, remove_vm, update_vm
from houyi.store.store import Store
from houyi.store.views.host import get_host
from houyi.store.views.vm import get_vm
from made import a_vm, new_id, put_host, put_image, put_projects

ROOM = {"vcpu": 4, "memory_mib": 1000}


async def some_vms(store: Store, count: int) -> list[DesiredVm]:
    await put_projects(store)
    image = await put_image(store)
    vms = [a_vm(image, f"vm{number}") for number in range(count)]
    await store.apply([insert_vm(vm, False, 1.0) for vm in vms])
    return vms


def claim(vm: DesiredVm, host_id: HostId, amounts: dict[str, int] | None = None):  # type: ignore[no-untyped-def]
    return claim_host(vm, host_id, {"vcpu": 1, "memory_mib": 300} if amounts is None else amounts, ROOM, 5.0)


async def test_a_claim_gives_the_vm_a_host_and_a_new_epoch(store: Store) -> None:
    (vm,) = await some_vms(store, 1)
    host_id = await put_host(store)
    await store.apply([claim(vm, host_id)])
    found = await store.read(lambda c: get_vm(c, vm.id, None))
    assert (found.host_id, found.desired) == (host_id, replace(vm, epoch=1))
    assert (await store.read(lambda c: get_host(c, host_id))).claimed == {"vcpu": 1, "memory_mib": 300}
    await store.apply([remove_vm(vm.id, vm.project_id)])
    assert (await store.read(lambda c: get_host(c, host_id))).claimed == {}


async def test_a_full_host_says_what_was_asked_and_what_is_left(store: Store) -> None:
    vms = await some_vms(store, 4)
    host_id = await put_host(store)
    got = await asyncio.gather(*(store.apply([claim(vm, host_id)]) for vm in vms), return_exceptions=True)
    (lost,) = [one for one in got if isinstance(one, NoCapacity)]
    assert lost.extra == {"asked": {"vcpu": 1, "memory_mib": 300}, "left": {"vcpu": 1, "memory_mib": 100}, "short": {"memory_mib": 200}}
    assert await store.read(lambda c: claimed_on(c, host_id)) == {"vcpu": 3, "memory_mib": 900}


async def test_a_claim_that_comes_too_late_is_refused(store: Store) -> None:
    placed, changed, deleted, fresh = await some_vms(store, 4)
    host_id, other = await put_host(store, "h1"), await put_host(store, "h2")
    await store.apply([claim(placed, host_id)])
    await store.apply([update_vm(replace(changed, generation=2), False)])
    await store.apply([remove_vm(deleted.id, deleted.project_id)])
    await store.apply([update_host(other, cordoned=True, drain_id=None, labels={})])
    for mutation, kind, code in (
        (claim(placed, other), Stale, "placed_already"),
        (claim(changed, host_id), Stale, "vm_changed"),
        (claim(deleted, host_id), NotFound, "vm_not_found"),
        (claim(fresh, other), Stale, "host_cordoned"),
        (claim(fresh, HostId(new_id())), NotFound, "host_not_found"),
    ):
        with pytest.raises(kind) as caught:
            await store.apply([mutation])
        assert caught.value.code == code
    assert await store.read(lambda c: claimed_on(c, host_id)) == {"vcpu": 1, "memory_mib": 300}


async def test_a_claim_grows_at_once_and_shrinks_at_the_next_start(store: Store) -> None:
    vm, neighbour = await some_vms(store, 2)
    host_id = await put_host(store)
    await store.apply([claim(vm, host_id), claim(neighbour, host_id)])

    async def mine() -> dict[str, int]:
        return await store.read(lambda c: claimed_on(c, host_id, without=neighbour.id))

    await store.apply([grow_claim(vm, host_id, {"vcpu": 2, "memory_mib": 700}, ROOM)])
    assert await mine() == {"vcpu": 2, "memory_mib": 700}
    with pytest.raises(NoCapacity) as caught:
        await store.apply([grow_claim(vm, host_id, {"vcpu": 2, "memory_mib": 701}, ROOM)])
    assert caught.value.extra["left"] == {"vcpu": 3, "memory_mib": 700}
    await store.apply([grow_claim(vm, host_id, {"vcpu": 1, "memory_mib": 100}, ROOM)])
    assert await mine() == {"vcpu": 2, "memory_mib": 700}, "it may still run with that"
    await store.apply([settle_claim(vm, {"vcpu": 1, "memory_mib": 800})])
    assert await mine() == {"vcpu": 1, "memory_mib": 700}, "settling never claims more"
    await store.apply([settle_claim(vm, {"vcpu": 1, "memory_mib": 100})])
    assert await mine() == {"vcpu": 1, "memory_mib": 100}


async def test_shrinking_is_never_refused(store: Store) -> None:
    """Also on a host that has less room than is claimed, because it lost memory or its overcommit was lowered."""
    (vm,) = await some_vms(store, 1)
    host_id = await put_host(store)
    await store.apply([claim(vm, host_id)])
    await store.apply([grow_claim(vm, host_id, {"vcpu": 1, "memory_mib": 200}, {"vcpu": 1, "memory_mib": 10})])
    await store.apply([settle_claim(vm, {"vcpu": 1, "memory_mib": 200})])
    assert await store.read(lambda c: claimed_on(c, host_id)) == {"vcpu": 1, "memory_mib": 200}


async def test_two_servers_never_oversubscribe(new_url: Callable[[str], str]) -> None:
    url = new_url("postgres")
    servers = [await Store.open(url), await Store.open(url)]
    vms = await some_vms(servers[0], 20)
    hosts = [await put_host(servers[0], f"h{number}") for number in range(3)]

    async def place(server: Store, order: list[DesiredVm], host_ids: list[HostId]) -> int:
        placed = 0
        for vm in order:
            for host_id in host_ids:
                try:
                    await server.apply([claim(vm, host_id)])
                except HouyiError:
                    continue
                placed += 1
                break
        return placed

    placed = await asyncio.gather(
        *(place(server, vms[start:] + vms[:start], hosts[turn:] + hosts[:turn]) for turn, start in enumerate((0, 5, 10)) for server in servers)
    )
    assert sum(placed) == 9, "three on each host, each by one of the servers"
    for host_id in hosts:
        assert await servers[1].read(lambda c, host_id=host_id: claimed_on(c, host_id)) == {"vcpu": 3, "memory_mib": 900}  # type: ignore[misc]
    epochs = [(await servers[0].read(lambda c, vm=vm: get_vm(c, vm.id, None))) for vm in vms]  # type: ignore[misc]
    assert sorted(vm.desired.epoch for vm in epochs) == [0] * 11 + [1] * 9
    for server in servers:
        await server.close()
