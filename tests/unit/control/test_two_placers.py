"""Two servers with a store each on one database place at the same time: no host is given more than it has, no hard rule is broken, and nothing that fits is left."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from desk import HandClock
from fleets import a_group
from houyi.base.config import ServerSettings, Settings
from houyi.base.ids import SeededIds
from houyi.control.control import Control
from houyi.control.reconcilers.placement import place_vms
from houyi.model.ids import PlacementGroupId
from houyi.model.resources import missing
from houyi.model.vm import DesiredVm
from houyi.planning.placement.filters import amounts
from houyi.store.rows.placement_group import insert_placement_group
from houyi.store.rows.vm import insert_vm
from houyi.store.store import Store
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import all_vms
from made import MINE, a_vm, new_id, put_host, put_image, put_projects
from stores import ENGINES, NewUrl

ROOM = {"vcpu": 8, "memory_mib": 8192, "disk_gib": 100}
HOSTS, LOTS, LOT = 20, 10, 20
SETTINGS = ServerSettings(vcpu_overcommit=1.0, memory_overcommit=1.0, disk_overcommit=1.0, memory_reserved_mib=0)


async def put_fleet(store: Store, dice: random.Random) -> list[list[DesiredVm]]:
    """Hosts, and lots of VMs that are not written yet: about twice what the hosts can take, a quarter of them in a hard group."""
    await put_projects(store)
    image = await put_image(store)
    for number in range(HOSTS):
        await put_host(store, f"h{number}", capacity=ROOM)
    group = replace(a_group(), id=PlacementGroupId(new_id()))
    await store.apply([insert_placement_group(group)])
    return [
        [
            a_vm(
                image,
                f"vm{lot}-{n}",
                vcpus=dice.randint(1, 3),
                memory_mib=dice.choice([256, 512, 2048]),
                spec={"placement_group_id": group.id} if dice.random() < 0.25 else {},
            )
            for n in range(LOT)
        ]
        for lot in range(LOTS)
    ]


@pytest.mark.parametrize("engine", ENGINES)
async def test_they_never_oversubscribe(engine: str, new_url: NewUrl) -> None:
    url = new_url(engine)
    stores = [await Store.open(url), await Store.open(url)]
    controls = [Control(store, HandClock(), SeededIds(number), Settings(server=SETTINGS)) for number, store in enumerate(stores)]
    lots = await put_fleet(stores[0], random.Random(7))
    before = [store.figures.applied for store in stores]

    async def serve(control: Control) -> None:
        """As long as there is something that could be placed; the pass after the last lot leaves nothing."""
        for lot in [*lots, []]:
            if control is controls[0]:
                await asyncio.gather(*(control.store.apply([insert_vm(vm, False, 1.0)]) for vm in lot))
                before[0] += len(lot)
            await place_vms(control)

    await asyncio.gather(*(serve(control) for control in controls))
    for control in controls:
        await place_vms(control)
    vms = await stores[0].read(lambda c: all_vms(c, MINE))
    hosts = (await stores[1].read(lambda c: list_hosts(c, EVERYTHING))).items
    applied = sum(store.figures.applied - known for store, known in zip(stores, before, strict=True))
    for store in stores:
        await store.close()
    placed = [vm for vm in vms if vm.host_id is not None]
    assert (len(vms), applied) == (LOTS * LOT, len(placed)), "each was placed once, by one of the two"
    assert all(vm.desired.epoch == (vm.host_id is not None) for vm in vms)
    free = {host.id: {name: room - host.claimed.get(name, 0) for name, room in ROOM.items()} for host in hosts}
    assert all(left >= 0 for room in free.values() for left in room.values())
    grouped = Counter(vm.host_id for vm in placed if vm.desired.spec.placement_group_id)
    assert max(grouped.values()) == 1, "no two of a hard group are on one host"
    for vm in vms:
        if vm.host_id is None:
            allowed = [host.id for host in hosts if not (vm.desired.spec.placement_group_id and host.id in grouped)]
            assert all(missing(amounts(vm.desired.spec), free[host]) for host in allowed), "what fits is placed"
