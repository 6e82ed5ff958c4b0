"""The report over the API: items with meaning and advice; and nothing before a host has said anything."""

from made import put_host
from unit.api.world import World


async def test_a_report_has_what_was_found_what_it_means_and_what_to_do(world: World) -> None:
    host_id = await world.new("host")
    async with world.client("admin") as client:
        answer = await client.get(f"/v1/hosts/{host_id}/report")
        report = answer.json()
        assert (answer.status_code, report["host_id"], report["kernel"]) == (200, host_id, "6.12.0")
        weights = [item["weight"] for item in report["items"]]
        assert weights == sorted(weights, reverse=True)
        found = {item["name"]: item for item in report["items"]}
        assert found["transparent huge pages"]["value"] == "never"
        assert "madvise" in found["transparent huge pages"]["advice"]
        assert found["NPT"] == {**found["NPT"], "value": "on", "advice": None, "weight": 0, "area": "virtualization"}
        assert found["CPUs"]["value"] == "unknown: /sys/devices/system/cpu/online: Permission denied"


async def test_a_host_that_has_said_nothing_yet(world: World) -> None:
    silent = await put_host(world.store, "silent")
    async with world.client("admin") as client:
        answer = await client.get(f"/v1/hosts/{silent}/report")
        assert (answer.status_code, answer.json()["code"]) == (404, "host_report_not_found")
        assert (await client.get("/v1/hosts/none/report")).json()["code"] == "host_not_found"
