"""Pools over HTTP: administrators see who is in them and who runs apart, members what their VMs get."""

from dataclasses import replace

from houyi.control.commands.pool import create_pool
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.pool import PoolStatus
from houyi.model.vm import VmState
from houyi.store.baselines import put_pool_status
from houyi.store.rows.vm import put_observed
from houyi.store.views.vm import get_vm
from made import an_observation
from unit.api.world import World


async def test_who_sees_what_of_a_pool(world: World) -> None:
    pool = await create_pool(world.control, world.context(), "new")
    baseline = CpuBaseline(cpu=GuestCpu(model="EPYC", vendor="AMD", required=("aes",), disabled=("vme",)), features=("aes", "sse2"))
    await world.store.apply([put_pool_status(pool.id, PoolStatus(baseline=baseline, trouble="host h9 has not said what its CPU is"))])
    vm = await world.new_vm("older")
    there = (await world.store.read(lambda c: get_vm(c, vm.id, None))).desired
    runs = replace(an_observation(there, VmState.RUNNING), epoch=1, cpu_features=("avx2", "sse2"))
    await world.store.apply([put_observed(world.host_id, vm.project_id, runs)])
    async with world.client("admin") as client:
        changed = await client.patch(f"/v1/hosts/{world.host_id}", json={"pool": "new"})
        assert (changed.status_code, changed.json()["pool_id"], changed.json()["pool_name"]) == (200, pool.id, "new")
        one = (await client.get("/v1/pools/new")).json()
        assert (one["cpu_model"], one["cpu_features"], one["cpu_required"], one["cpu_disabled"]) == ("EPYC", ["aes", "sse2"], ["aes"], ["vme"])
        assert [host["id"] for host in one["hosts"]] == [world.host_id]
        assert one["trouble"].startswith("host h9")
        assert one["apart"] == [{"vm_id": vm.id, "vm_name": "older", "host_id": world.host_id, "more": ["avx2"], "less": ["aes"]}]
        (listed,) = (await client.get("/v1/pools")).json()["items"]
        assert (listed["apart"], len(listed["hosts"])) == (None, 1)
    async with world.client("member") as client:
        one = (await client.get("/v1/pools/new")).json()
        assert (one["cpu_features"], one["hosts"], one["apart"], one["trouble"]) == (["aes", "sse2"], None, None, "")


async def test_the_pool_and_the_features_of_a_vm(world: World) -> None:
    image = await world.new_image()
    pool = await create_pool(world.control, world.context(), "new")
    body = {"name": "vm", "image": image.id, "vcpus": 1, "memory_mib": 128, "nics": [], "pool": "new", "cpu_features": ["avx2"]}
    async with world.client("member") as client, world.client("admin") as admin:
        assert (await client.post("/v1/vms", json=body)).json()["code"] == "no_capacity"
        rehearsed = (await client.post("/v1/vms", params={"dry_run": True}, json=body)).json()
        assert (rehearsed["removed"]["pool"], rehearsed["why_not"]) == (1, "1 host: not in the pool")
        assert (await admin.patch(f"/v1/hosts/{world.host_id}", json={"pool": "new"})).status_code == 200
        assert (await client.post("/v1/vms", json=body)).status_code == 202
        made = (await client.get("/v1/vms/vm")).json()
        assert (made["pool_id"], made["pool_name"], made["cpu_features"]) == (pool.id, "new", ["avx2"])
