"""What VMs did, over HTTP: everybody sees his own."""

from datetime import UTC, datetime

import pytest

from houyi.model.ids import VmId
from houyi.model.telemetry import DiskRates, VcpuRates, VmRates
from houyi.store.rows.telemetry import put_rates
from unit.api.world import World


def ago(world: World, seconds: float) -> float:
    return world.control.clock.now() - seconds


async def counted(world: World, vm_id: str, ended: float, exits: float) -> None:
    rates = VmRates(
        vm_id=VmId(vm_id),
        began_at=ended - 10,
        ended_at=ended,
        kvm=True,
        cpu=0.5,
        exits={"exits": exits, "halt_exits": 1.0},
        vcpus=(VcpuRates(number=0, delay=0.2),),
        disks=(DiskRates(name="vda", read_ms=1.5),),
    )
    await world.store.apply([put_rates(world.host_id, [rates], 10.0)])


async def test_the_history_of_one(world: World) -> None:
    vm = await world.new_vm("counted")
    now = world.control.clock.now()
    for back, exits in ((31, 100.0), (21, 200.0), (11, 600.0)):
        await counted(world, vm.id, now - back, exits)
    async with world.client("member") as client:
        answer = await client.get("/v1/vms/counted/telemetry")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["vm_id"], told["vm_name"], told["source"]) == (vm.id, "counted", "ring")
        assert [one["exits_s"] for one in told["items"]] == [100.0, 200.0, 600.0]
        last = told["items"][-1]
        assert (last["host_name"], last["kvm"], last["cpu"], last["delay"], last["seconds"]) == ("h1", True, 0.5, 0.2, 10.0)
        assert (last["exits"], last["disks"][0]["read_ms"]) == ({"exits": 600.0, "halt_exits": 1.0}, 1.5)
        since = datetime.fromtimestamp(now - 26, UTC).isoformat()
        assert [one["exits_s"] for one in (await client.get("/v1/vms/counted/telemetry", params={"since": since})).json()["items"]] == [200.0, 600.0]
        coarse = (await client.get("/v1/vms/counted/telemetry", params={"step": 86400})).json()["items"]
        assert sum(one["seconds"] * one["exits_s"] for one in coarse) == pytest.approx(9000.0)
        for wrong in ({"since": "yesterday"}, {"since": "2026-11-23T07:45:00"}, {"step": -1}, {"step": "nan"}, {"sinse": "x"}):
            assert (await client.get("/v1/vms/counted/telemetry", params=wrong)).status_code == 400, wrong


async def test_what_all_do_now(world: World) -> None:
    mine, theirs = await world.new_vm("mine-now"), await world.new_vm("theirs-now", project=world.theirs.id)
    quiet = await world.new_vm("quiet")
    for vm in (mine, theirs):
        await counted(world, vm.id, ago(world, 12), 1.0)
        await counted(world, vm.id, ago(world, 2), 2.0)
    await counted(world, quiet.id, ago(world, 120), 1.0)

    async def seen(who: str, **params: str) -> set[tuple[str, float]]:
        async with world.client(who) as client:
            answer = await client.get("/v1/telemetry", params=params)
            assert answer.status_code == 200, answer.text
            return {(one["vm_name"], one["exits_s"]) for one in answer.json()["items"]} & {("mine-now", 2.0), ("theirs-now", 2.0), ("quiet", 1.0)}

    assert await seen("member") == {("mine-now", 2.0)}
    assert await seen("other") == {("theirs-now", 2.0)}
    assert await seen("admin") == {("mine-now", 2.0), ("theirs-now", 2.0)}
    assert await seen("admin", project="mine") == {("mine-now", 2.0)}
    assert await seen("admin", host="h1") == {("mine-now", 2.0), ("theirs-now", 2.0)}
    assert await seen("admin", host="h2") == set()
