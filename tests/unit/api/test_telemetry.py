"""What VMs did, over HTTP: everybody sees his own."""

from datetime import UTC, datetime

import pytest

from houyi.model.errors import Conflict
from houyi.model.ids import VmId
from houyi.model.telemetry import DiskRates, VcpuRates, VmRates
from houyi.model.vm import VmState
from houyi.store.rows.telemetry import put_rates
from houyi.store.rows.vm import put_observed
from made import an_observation
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


async def test_exits_by_reason_are_looked_at_while_one_waits(small_world: World) -> None:
    world = small_world
    world.far.reset()
    vm = await world.new_vm("exiting")
    async with world.client("member") as client:
        answer = await client.post("/v1/vms/exiting/exits", json={"seconds": 2.5})
        assert answer.status_code == 200, answer.text
        assert world.far.profiled == [(world.host_id, vm.id, 2.5)]
        told = answer.json()
        assert (told["vm_name"], told["virtualization"], told["count"], told["count_s"], told["dropped"]) == ("exiting", "svm", 11, 5.5, 0)
        assert told["reasons"][1] == {"reason": "msr", "count": 10, "count_s": 5.0, "outside_ns": 10_000, "mean_ns": 1000.0}
        assert told["registers"] == [{"register_use": "write tsc_deadline", "count": 8, "count_s": 4.0}]
        assert told["symptoms"] == {"timer": 4.0, "msr": 1.0, "halt": 0.5}
        assert (await client.post("/v1/vms/exiting/exits")).status_code == 200
        assert world.far.profiled[-1][2] == 10.0, "if nothing is said"
        for wrong in ({"seconds": 61}, {"seconds": 0}, {"seconds": "5"}, {"minutes": 1}):
            assert (await client.post("/v1/vms/exiting/exits", json=wrong)).status_code == 400, wrong
        world.far.refuses = Conflict("no_vm_exits", "it runs under TCG")
        refused = await client.post("/v1/vms/exiting/exits")
        assert (refused.status_code, refused.json()["code"]) == (409, "no_vm_exits")


async def test_disks_are_looked_at_while_one_waits(world: World) -> None:
    world.far.reset()
    vm = await world.new_vm("writing")
    async with world.client("member") as client:
        answer = await client.post("/v1/vms/writing/latency", json={"seconds": 2.5})
        assert answer.status_code == 200, answer.text
        assert world.far.profiled == [(world.host_id, vm.id, 2.5)]
        told = answer.json()
        assert (told["vm_name"], told["seconds"]) == ("writing", 2.0)
        (one,) = told["requests"]
        assert (one["disk"], one["kind"], one["count"], one["count_s"], one["most_ms"]) == ("vda", "writes", 10, 5.0, 2.0)
        assert one["histogram"] == [{"to_ms": 1.0, "count": 1}, {"to_ms": 2.0, "count": 9}]
        assert 1.0 < one["p50_ms"] < one["p90_ms"] < one["p99_ms"] < 2.0
        for wrong in ({"seconds": 61}, {"seconds": 0}, {"minutes": 1}):
            assert (await client.post("/v1/vms/writing/latency", json=wrong)).status_code == 400, wrong
        world.far.refuses = Conflict("latency_unknown", "QEMU does not count")
        refused = await client.post("/v1/vms/writing/latency")
        assert (refused.status_code, refused.json()["code"]) == (409, "latency_unknown")


async def test_what_does_not_run_under_kvm_has_no_exits(small_world: World) -> None:
    world = small_world
    world.far.reset()
    off = await world.new_vm("off", state=VmState.STOPPED)
    tcg = await world.new_vm("tcg")
    await world.store.apply([put_observed(world.host_id, world.mine.id, an_observation(tcg, epoch=1, accelerator="qemu"))])
    async with world.client("member") as client:
        for vm, code in ((off, "not_running"), (tcg, "no_vm_exits")):
            refused = await client.post(f"/v1/vms/{vm.id}/exits", json={"seconds": 1})
            assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert world.far.profiled == []
