"""What hosts count is kept in a ring: of their own VMs only, and only if it can be true."""

from dataclasses import replace
from typing import Any

import pytest

from desk import Desk
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.telemetry import AHEAD_SECONDS, take_telemetry
from houyi.control.reconcilers.placement import place_vms
from houyi.model.ids import HostId, VmId
from houyi.model.telemetry import PERIODS_KEPT, DiskRates, NicRates, VcpuRates, VmRates
from houyi.store.rows.telemetry import put_rates
from houyi.store.rows.vm import remove_vm
from houyi.store.views.telemetry import history, newest
from houyi.store.views.vm import get_vm
from made import MINE, OTHER, new_id, put_host


async def held(desk: Desk, name: str = "hello") -> VmId:
    await create_vm(desk.control, desk.me, VmAsk(name=name, image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    return (await desk.store.read(lambda c: get_vm(c, name, None))).desired.id


def a_period(vm_id: VmId, ended: float, exits: float = 5.0, **values: Any) -> VmRates:
    return VmRates(vm_id=vm_id, began_at=ended - 10, ended_at=ended, kvm=True, **{"exits": {"exits": exits}, **values})


async def told(desk: Desk, vm_id: VmId, since: float = 0.0) -> list[tuple[float, float]]:
    return [(one.rates.ended_at, one.rates.exits_s) for one in await desk.store.read(lambda c: history(c, vm_id, since))]


async def test_periods_are_kept_in_order(both: Desk) -> None:
    vm_id = await held(both)
    full = a_period(vm_id, 990, disks=(DiskRates(name="vda", reads_s=1.5),), nics=(NicRates(name="nic0"),), vcpus=(VcpuRates(number=0),))
    revision = both.store.revision
    await take_telemetry(both.control, both.host_id, [a_period(vm_id, 1000), full])
    assert await told(both, vm_id) == [(990.0, 5.0), (1000.0, 5.0)]
    assert await told(both, vm_id, since=990.0) == [(1000.0, 5.0)]
    first, last = await both.store.read(lambda c: history(c, vm_id, 0.0))
    assert first.rates == full
    assert (last.vm_name, last.project_id, last.host_id, last.host_name) == ("hello", MINE, both.host_id, "h1")
    await take_telemetry(both.control, both.host_id, [a_period(vm_id, 1000)])
    assert len(await told(both, vm_id)) == 2, "what is said twice is written once"
    assert both.store.revision >= revision


async def test_the_ring_keeps_the_newest(desk: Desk) -> None:
    vm_id = await held(desk)
    desk.clock.at = 1e6
    for number in range(PERIODS_KEPT + 7):
        await take_telemetry(desk.control, desk.host_id, [a_period(vm_id, 900_000 + 10 * number + (number % 3 - 1))])
    kept = await told(desk, vm_id)
    assert len(kept) == PERIODS_KEPT
    assert kept[0][0] == pytest.approx(900_070, abs=1)


async def test_the_newest_of_each(both: Desk) -> None:
    a, b = await held(both, "b"), await held(both, "a")
    await take_telemetry(both.control, both.host_id, [a_period(a, 980, 1.0), a_period(a, 990, 2.0), a_period(b, 970, 3.0)])
    found = await both.store.read(lambda c: newest(c, None, 0.0))
    assert [(one.vm_name, one.rates.exits_s) for one in found] == [("a", 3.0), ("b", 2.0)]
    assert [one.vm_name for one in await both.store.read(lambda c: newest(c, None, 975.0))] == ["b"]
    assert len(await both.store.read(lambda c: newest(c, MINE, 0.0))) == 2
    assert await both.store.read(lambda c: newest(c, OTHER, 0.0)) == []


async def test_a_host_tells_of_its_own_vms_only(desk: Desk) -> None:
    vm_id = await held(desk)
    other = await put_host(desk.store, "h2")
    await take_telemetry(desk.control, other, [a_period(vm_id, 990)])
    await take_telemetry(desk.control, desk.host_id, [a_period(VmId(new_id()), 990)])
    assert await told(desk, vm_id) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu": float("nan")},
        {"cpu": -1.0},
        {"exits": {"exits": float("inf")}},
        {"vcpus": (VcpuRates(number=0, delay=1e13),)},
        {"disks": (DiskRates(name="vda", read_ms=-0.1),)},
        {"nics": (NicRates(name="nic0", sent_mib_s=float("nan")),)},
        {"began_at": 990.0},
        {"began_at": float("nan")},
        {"ended_at": 1000.0 + AHEAD_SECONDS + 1},
    ],
)
async def test_what_is_no_figure_is_dropped(desk: Desk, wrong: dict[str, Any]) -> None:
    vm_id = await held(desk)
    await take_telemetry(desk.control, desk.host_id, [replace(a_period(vm_id, 990), **wrong), a_period(vm_id, 980)])
    assert await told(desk, vm_id) == [(980.0, 5.0)], "the others are good"


async def test_names_that_are_none_are_left_out(desk: Desk) -> None:
    vm_id = await held(desk)
    exits = {"exits": 1.0, 'x{a="b"}': 2.0, "UPPER": 3.0} | {f"k{number:03}": 1.0 for number in range(200)}
    disks = (DiskRates(name="vda"), DiskRates(name="../x"))
    await take_telemetry(desk.control, desk.host_id, [replace(a_period(vm_id, 990), exits=exits, disks=disks)])
    (one,) = await desk.store.read(lambda c: history(c, vm_id, 0.0))
    assert [disk.name for disk in one.rates.disks] == ["vda"]
    assert len(one.rates.exits) <= 80
    assert not {"UPPER", 'x{a="b"}'} & one.rates.exits.keys()


async def test_a_vm_that_was_deleted_meanwhile_takes_its_figures_with_it(both: Desk) -> None:
    vm_id = await held(both)
    await take_telemetry(both.control, both.host_id, [a_period(vm_id, 990)])
    await both.store.apply([remove_vm(vm_id, MINE)])
    assert await told(both, vm_id) == []
    late = put_rates(HostId(both.host_id), [a_period(vm_id, 990)], 10.0)
    with pytest.raises(Exception, match="deleted meanwhile"):
        await both.store.apply([late])
    await take_telemetry(both.control, both.host_id, [a_period(vm_id, 990)])
    assert await both.store.read(lambda c: newest(c, None, 0.0)) == []
