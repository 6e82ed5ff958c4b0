"""VMs over HTTP: what is asked becomes a wish and an operation; what is shown is wish and fact together."""

from typing import Any

import pytest

from houyi.model.vm import VmState
from houyi.store.views.vm import get_vm
from unit.api.world import PUBLIC_KEY, World


async def test_a_vm_is_made(world: World) -> None:
    image = await world.new_image("tiny")
    async with world.client("member") as client:
        await client.post("/v1/ssh-keys", json={"name": "k", "public_key": PUBLIC_KEY})
        body = {
            "name": "hello",
            "image": "tiny",
            "type": "t1.nano",
            "memory_mib": 256,
            "nics": [{"network": "default", "address": "10.80.0.77"}],
            "ssh_keys": ["k"],
            "user_data": "#cloud-config\n",
            "labels": {"tier": "web"},
            "protected": True,
            "restart_policy": "never",
            "on_trouble": {"panic": "keep", "memory_failure": "restart"},
        }
        made = await client.post("/v1/vms", json=body)
        assert made.status_code == 202, made.text
        operation = made.json()
        assert made.headers["location"] == f"/v1/operations/{operation['id']}"
        assert (operation["verb"], operation["state"], operation["target_kind"]) == ("vm.create", "queued", "vm")
        vm = (await client.get("/v1/vms/hello")).json()
        assert vm["id"] == operation["target_id"]
        assert (vm["state"], vm["power"], vm["host_id"], vm["image_id"], vm["image_name"]) == ("pending", "running", None, image.id, "tiny")
        assert (vm["vcpus"], vm["memory_mib"], vm["disk_gib"]) == (1, 256, 1), "the type's, but for what was given beside it"
        assert [(nic["network_name"], nic["address"]) for nic in vm["nics"]] == [("default", "10.80.0.77")]
        assert vm["ssh_keys"] == [PUBLIC_KEY]
        assert (vm["user_data_bytes"], "user_data" in vm) == (14, False)
        assert (vm["labels"], vm["protected"], vm["restart_policy"], vm["project_name"]) == ({"tier": "web"}, True, "never", "mine")
        assert vm["on_trouble"] == {"panic": "keep", "memory_failure": "restart"}
        assert vm["created_at"].endswith("Z")
        assert (vm["started_at"], vm["error"]) == (None, None)
        events = (await client.get("/v1/events", params={"target": vm["id"]})).json()["items"]
        assert [event["kind"] for event in events] == ["vm.create"]
        assert events[0]["request_id"] == made.headers["x-request-id"]
        for wrong, code in (({"panic": "report"}, "remedy_unsupported"), ({"flood": "stop"}, "invalid_request")):
            refused = await client.patch("/v1/vms/hello", json={"on_trouble": wrong})
            assert (refused.status_code, refused.json()["code"]) == (400, code)
        changed = await client.patch("/v1/vms/hello", json={"on_trouble": {"io_error": "report"}})
        assert changed.json()["on_trouble"] == {"io_error": "report"}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"image": "no-such"}, 404, "image_not_found"),
        ({"type": "x9.huge"}, 404, "vm_type_not_found"),
        ({"nics": [{"network": "nowhere"}]}, 404, "network_not_found"),
        ({"ssh_keys": ["nobodys"]}, 404, "ssh_key_not_found"),
        ({"name": "Not A Label"}, 400, "name_invalid"),
        ({"vcpus": 0}, 400, "vcpus_invalid"),
        ({"vcpus": 5000}, 400, "vcpus_invalid"),
        ({"type": ""}, 400, "size_missing"),
        ({"nics": [{"address": "10.99.0.1"}]}, 400, "address_outside_network"),
        ({"memory_mib": 4_000_000}, 507, "no_capacity"),
        ({"cpu_model": "host-passthrough"}, 400, "cpu_model_invalid"),
        ({"labels": {"-": "x"}}, 400, "labels_invalid"),
    ],
)
async def test_what_is_refused_leaves_nothing(small_world: World, change: dict[str, Any], status: int, code: str) -> None:
    image = await small_world.new_image()
    async with small_world.client("member") as client:
        before = (await client.get("/v1/vms")).json()
        answer = await client.post("/v1/vms", json={"name": "refused", "image": image.id, "type": "t1.nano", **change})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert (await client.get("/v1/vms")).json() == before
    if code == "no_capacity":
        assert answer.json()["extra"]["asked"]["memory_mib"] >= 4_000_000
        assert "left" in answer.json()["extra"]


async def test_a_rehearsal_makes_nothing(world: World) -> None:
    await world.new_image("tiny")
    async with world.client("member") as client:
        revision = world.store.revision
        body = {"name": "never", "image": "tiny", "type": "c1.small"}
        fits = await client.post("/v1/vms", json=body, params={"dry_run": True})
        assert fits.status_code == 200
        assert (fits.json()["host_name"], fits.json()["why_not"], fits.json()["memory_mib"]) == ("h1", "", 512)
        no = (await client.post("/v1/vms", json={**body, "memory_mib": 4_000_000}, params={"dry_run": True})).json()
        assert no["host_id"] is None
        assert no["why_not"]
        assert world.store.revision == revision


async def test_why_a_vm_goes_where_it_goes(world: World) -> None:
    vm = await world.new_vm("placed")
    waiting = await world.new_vm("waits", state=None, vcpus=64)
    async with world.client("admin") as client, world.client("member") as member:
        here = (await client.get(f"/v1/vms/{vm.id}/placement")).json()
        assert (here["at_host_name"], here["host_name"], here["why_not"]) == ("h1", "h1", "")
        (look,) = here["hosts"]
        assert (look["host_name"], look["removed_by"], look["chosen"]) == ("h1", "", True)
        assert set(look["scores"]) >= {"hardware", "free_memory"}
        revision = world.store.revision
        there = (await client.get(f"/v1/vms/{waiting.id}/placement")).json()
        assert (there["at_host_id"], there["host_id"], there["removed"]["size"]) == (None, None, 1)
        assert there["hosts"][0]["why"] == "4 CPUs for 64 vCPUs"
        theirs = (await member.get("/v1/vms/waits/placement")).json()
        assert theirs == {**there, "hosts": None}
        assert world.store.revision == revision
        body = {"name": "never", "image": (await world.new_image()).id, "vcpus": 64, "memory_mib": 64}
        tried = [(await one.post("/v1/vms", json=body, params={"dry_run": True, "project": "mine"})).json() for one in (client, member)]
        assert ([look["removed_by"] for look in tried[0]["hosts"]], tried[1]["hosts"]) == (["size"], None)


async def test_verbs_become_wishes(small_world: World) -> None:
    vm = await small_world.new_vm("verbs")

    async def power() -> tuple[str, int, int]:
        desired = (await small_world.store.read(lambda c: get_vm(c, vm.id, None))).desired
        return desired.power.value, desired.reboot_serial, desired.reset_serial

    async with small_world.client("member") as client:
        for verb, expected in (("reboot", ("running", 1, 0)), ("reset", ("running", 1, 1)), ("pause", ("paused", 1, 1)), ("resume", ("running", 1, 1))):
            answer = await client.post(f"/v1/vms/verbs/{verb}")
            assert (answer.status_code, answer.json()["verb"]) == (202, f"vm.{verb}")
            assert await power() == expected
        answer = await client.post("/v1/vms/verbs/stop", json={"mode": "graceful", "grace_seconds": 5})
        assert answer.json()["verb"] == "vm.stop"
        desired = (await small_world.store.read(lambda c: get_vm(c, vm.id, None))).desired
        assert (desired.power.value, desired.stop_mode.value, desired.grace_seconds) == ("stopped", "graceful", 5)
        assert (await client.post("/v1/vms/verbs/stop", json={"mode": "force"})).json()["verb"] == "vm.force_stop"
        refused = await client.post("/v1/vms/verbs/reboot")
        assert (refused.status_code, refused.json()["code"]) == (409, "vm_not_running")
        assert (await client.post("/v1/vms/verbs/stop", json={"grace_seconds": -1})).json()["code"] == "grace_invalid"


async def test_changes_and_protection(world: World) -> None:
    await world.new_vm("before", state=VmState.STOPPED)
    async with world.client("member") as client:
        changed = await client.patch("/v1/vms/before", json={"name": "after", "protected": True, "labels": {"a": "1"}, "video": False})
        assert changed.status_code == 200, changed.text
        assert (changed.json()["name"], changed.json()["video"], changed.json()["generation"]) == ("after", False, 2)
        assert (await client.get("/v1/vms/before")).status_code == 404
        assert (await client.delete("/v1/vms/after")).json()["code"] == "vm_protected"
        assert (await client.patch("/v1/vms/after", json={"protected": False})).status_code == 200
        deleted = await client.delete("/v1/vms/after")
        assert (deleted.status_code, deleted.json()["verb"]) == (202, "vm.delete")
        by_id = (await client.get(f"/v1/vms/{deleted.json()['target_id']}")).json()
        assert by_id["state"] == "deleting"
