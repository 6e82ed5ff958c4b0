"""Moves over HTTP: who may ask for one and how, what is told before, while it lasts and after, and what a VM on a move refuses."""

from dataclasses import replace
from typing import Any

import pytest

from houyi.control.workflows.migrate_vm import move_vms
from houyi.model.errors import Problem
from houyi.model.migration import End, Figures, Landing, MigrationCourse, MigrationState, MoveMode, ObservedMove, Order, Outcome, Presence
from houyi.store.courses import move_course
from houyi.store.rows.migration import put_observed_move
from houyi.store.views.host import get_host
from houyi.store.views.migration import get_migration
from unit.api.test_watch import lines, until
from unit.api.world import World, serving


async def elsewhere(world: World) -> str:
    """The name of another host, with room."""
    host_id = await world.new("host")
    return (await world.store.read(lambda c: get_host(c, host_id))).name


async def on_course(world: World, migration_id: str, **course: Any) -> None:
    one = await world.store.read(lambda c: get_migration(c, migration_id, None))
    await world.store.apply([move_course(one, replace(one.course, **course))])


async def says(world: World, migration_id: str, **values: Any) -> None:
    one = await world.store.read(lambda c: get_migration(c, migration_id, None))
    seen = ObservedMove(id=one.id, **values)
    await world.store.apply([put_observed_move(one, one.source_id if seen.end is End.SOURCE else one.destination_id, seen)])


async def test_a_member_says_move_and_the_platform_says_where(world: World) -> None:
    vm, there = await world.new_vm("mover"), await elsewhere(world)
    async with world.client("member") as client:
        asked = await client.post("/v1/vms/mover/migrate")
        assert asked.status_code == 202, asked.text
        operation = asked.json()
        assert (operation["verb"], operation["target_id"], operation["cancellable"]) == ("vm.migrate", vm.id, True)
        assert asked.headers["location"] == f"/v1/operations/{operation['id']}"
        (one,) = (await client.get("/v1/migrations", params={"vm": vm.id})).json()["items"]
        assert (one["operation_id"], one["vm_name"], one["kind"], one["state"]) == (operation["id"], "mover", "live", "queued")
        assert (one["source_name"], one["destination_name"]) == ("h1", there)
        assert (one["terms"]["policy"], one["terms"]["downtime_ms_max"], one["terms"]["encrypted"]) == ("auto", 300.0, True)
        assert (one["outcome"], one["source"], one["began_at"]) == (None, None, None)
        assert one["forecast"]["total_seconds"] > 0, "what is expected is written down before it begins"
        assert "the line is assumed" in one["forecast"]["why"]
        again = await client.post("/v1/vms/mover/migrate")
        assert (again.status_code, again.json()["code"]) == (409, "vm_migrating")
        events = (await client.get("/v1/events", params={"target": vm.id, "kind": "vm.migrate"})).json()["items"]
        assert there in events[0]["detail"]


@pytest.mark.parametrize("body", [{"to": "h1"}, {"priority": 1}])
async def test_hosts_and_turns_are_the_administrators(small_world: World, body: dict[str, Any]) -> None:
    vm = await small_world.new_vm()
    for query in ({}, {"dry_run": True}):
        async with small_world.client("member") as client:
            refused = await client.post(f"/v1/vms/{vm.id}/migrate", json=body, params=query)
            assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")


async def test_an_administrator_says_where_and_how(small_world: World) -> None:
    vm, there = await small_world.new_vm(), await elsewhere(small_world)
    body = {"to": there, "policy": "fast", "downtime_ms_max": 50, "postcopy": True, "bandwidth_mib_s_max": 12.5, "priority": 3}
    async with small_world.client("admin") as client:
        assert (await client.post(f"/v1/vms/{vm.id}/migrate", json=body)).status_code == 202
        (one,) = (await client.get("/v1/migrations", params={"host": there})).json()["items"]
        assert (one["destination_name"], one["priority"], one["reason"]) == (there, 3, "asked")
        terms = one["terms"]
        assert (terms["policy"], terms["downtime_ms_max"], terms["postcopy"], terms["bandwidth_mib_s_max"]) == ("fast", 50.0, True, 12.5)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"to": "h1"}, 409, "same_host"),
        ({"to": "nowhere"}, 404, "host_not_found"),
        ({"downtime_ms_max": 1}, 400, "downtime_invalid"),
        ({"bandwidth_mib_s_max": -1}, 400, "invalid_request"),
        ({"priority": 101}, 400, "invalid_request"),
        ({"policy": "reckless"}, 400, "invalid_request"),
    ],
)
async def test_what_is_refused(small_world: World, body: dict[str, Any], status: int, code: str) -> None:
    vm = await small_world.new_vm()
    async with small_world.client("admin") as client:
        refused = await client.post(f"/v1/vms/{vm.id}/migrate", json=body)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert (await client.get("/v1/migrations", params={"vm": vm.id})).json()["items"] == []


async def test_a_plan_tells_everything_and_moves_nothing(world: World) -> None:
    vm = await world.new_vm("mover")
    where = f"/v1/vms/{vm.id}/migrate"
    async with world.client("admin") as client:
        before = world.store.revision
        alone = (await client.post(where, params={"dry_run": True})).json()
        assert [one["code"] for one in alone["blockers"]] == ["no_capacity"]
        assert (alone["source_name"], alone["destination_name"]) == ("h1", None)
        home = (await client.post(where, params={"dry_run": True}, json={"to": "h1"})).json()
        assert [one["code"] for one in home["blockers"]] == ["same_host"]
        assert world.store.revision == before
        there = await elsewhere(world)
        before = world.store.revision
        answer = await client.post(where, params={"dry_run": True})
        plan = answer.json()
        assert (answer.status_code, plan["vm_id"], plan["kind"], plan["blockers"]) == (200, vm.id, "live", [])
        assert (plan["destination_name"], plan["claims"]["memory_mib"]) == (there, 1)
        assert (plan["forecast"]["converges"], plan["forecast"]["inputs"]["memory_mib"]) == (True, 128.0)
        assert world.store.revision == before
        await client.patch(f"/v1/vms/{vm.id}", json={"migration_policy": "never"})
        never = (await client.post(where, params={"dry_run": True})).json()
        assert [one["code"] for one in never["blockers"]] == ["migration_forbidden"]


async def test_how_a_vm_may_move_is_the_vms(small_world: World) -> None:
    image = await small_world.new_image()
    body = {"name": "settled", "image": image.id, "type": "t1.nano", "migration_policy": "gentle", "downtime_ms_max": 80, "postcopy": True}
    told = ("migration_policy", "downtime_ms_max", "postcopy", "migration_id")
    async with small_world.client("member") as client:
        assert (await client.post("/v1/vms", json={**body, "downtime_ms_max": 5})).json()["code"] == "downtime_invalid"
        assert (await client.post("/v1/vms", json=body)).status_code == 202
        assert [(await client.get("/v1/vms/settled")).json()[key] for key in told] == ["gentle", 80, True, None]
        changed = await client.patch("/v1/vms/settled", json={"migration_policy": "never", "postcopy": False})
        assert [changed.json()[key] for key in told] == ["never", 80, False, None]


async def test_what_a_move_tells_while_it_lasts_and_after(world: World) -> None:
    number = await world.new("migration")
    figures = Figures(memory_total_mib=128.0, memory_remaining_mib=32.0, rounds=3, bandwidth_mib_s=99.5)
    error = Problem("disk_full", "the disk is full")
    orders = {End.SOURCE: Order.MOVE, End.DESTINATION: Order.PREPARE}
    await on_course(world, number, state=MigrationState.PREPARING)
    await on_course(world, number, state=MigrationState.MOVING, orders=orders, began_at=11.0, moved_at=12.0)
    await says(world, number, end=End.SOURCE, presence=Presence.SENDING, order=Order.MOVE, busy=True, progress=0.5, stage="memory", figures=figures)
    await says(world, number, end=End.DESTINATION, presence=Presence.INCOMING, order=Order.PREPARE, ready=True, error=error)
    async with world.client("member") as client:
        one = (await client.get(f"/v1/migrations/{number}")).json()
        assert (one["state"], one["stage"], 0.5 < one["progress"] < 0.6) == ("moving", "memory", True)
        assert one["figures"]["memory_remaining_mib"] == 32.0
        assert (one["source"]["presence"], one["source"]["busy"], one["source"]["heard"]) == ("sending", True, True)
        assert one["destination"]["error"] == {"code": "disk_full", "detail": "the disk is full"}
        assert (one["began_at"], one["moved_at"], one["ended_at"]) == ("1970-01-01T00:00:11.000Z", "1970-01-01T00:00:12.000Z", None)
        vm = (await client.get(f"/v1/vms/{one['vm_id']}")).json()
        assert vm["migration_id"] == number
        for verb in ("stop", "pause", "reboot", "reset"):
            refused = await client.post(f"/v1/vms/{vm['id']}/{verb}")
            assert (refused.status_code, refused.json()["code"]) == (409, "vm_migrating"), verb
        assert (await client.delete(f"/v1/vms/{vm['id']}")).json()["code"] == "vm_migrating"
        outcome = Outcome(total_seconds=2.5, downtime_ms=40.0, gap_ms=55.0, sent_mib=200.0, rounds=4, mode=MoveMode.PLAIN)
        await on_course(world, number, state=MigrationState.FINISHING, outcome=outcome)
        await on_course(world, number, state=MigrationState.DONE, orders={}, ended_at=20.0)
        done = (await client.get(f"/v1/migrations/{number}")).json()
        assert (done["state"], done["progress"], done["outcome"]["downtime_ms"], done["outcome"]["mode"]) == ("done", 1.0, 40.0, "plain")
        assert (await client.get(f"/v1/vms/{vm['id']}")).json()["migration_id"] is None


async def test_a_cancelled_move_says_so_and_ends(world: World) -> None:
    vm, _ = await world.new_vm("mover"), await elsewhere(world)
    async with world.client("member") as client:
        operation = (await client.post("/v1/vms/mover/migrate")).json()
        (one,) = (await client.get("/v1/migrations", params={"open": True})).json()["items"]
        cancelled = await client.post(f"/v1/migrations/{one['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["cancelled"], cancelled.json()["state"]) == (200, True, "queued")
        assert (await client.post(f"/v1/migrations/{one['id']}/cancel")).status_code == 200, "said twice"
        await move_vms(world.control)
        ended = (await client.get(f"/v1/migrations/{one['id']}")).json()
        assert (ended["state"], ended["vm_id"]) == ("cancelled", vm.id)
        assert (await client.get(f"/v1/operations/{operation['id']}")).json()["state"] == "cancelled"
        late = await client.post(f"/v1/migrations/{one['id']}/cancel")
        assert (late.status_code, late.json()["code"]) == (409, "migration_ended")
        assert (await client.get("/v1/migrations", params={"open": True})).json()["items"] == []


async def test_the_operation_cancels_it_as_well(world: World) -> None:
    await world.new_vm("mover")
    await elsewhere(world)
    async with world.client("member") as client:
        operation = (await client.post("/v1/vms/mover/migrate")).json()
        answers = [await client.post(f"/v1/operations/{operation['id']}/cancel", headers={"Idempotency-Key": "stop"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        await move_vms(world.control)
        assert (await client.get(f"/v1/operations/{operation['id']}")).json()["state"] == "cancelled"


async def test_moves_are_their_projects(small_world: World) -> None:
    number = await small_world.new("migration")
    async with small_world.client("other") as client:
        assert number not in [one["id"] for one in (await client.get("/v1/migrations", params={"limit": 1000})).json()["items"]]
    async with small_world.client("admin") as client:
        state = {"state": "queued", "limit": 1000}
        assert number in [one["id"] for one in (await client.get("/v1/migrations", params=state)).json()["items"]]


async def test_moves_are_watched(world: World) -> None:
    """What an end testifies, and each turn of the course; to the VM's project, and to nobody else's."""
    number = await world.new("migration")
    landing = Landing(address="192.0.2.1", port=1, tls_name="t")
    async with serving(world) as url, world.client("member", url) as client, world.client("other", url) as other:
        since = (await client.get("/v1/migrations")).json()["revision"]
        await on_course(world, number, state=MigrationState.PREPARING)
        await says(world, number, end=End.DESTINATION, presence=Presence.NONE, order=Order.PREPARE, ready=True, landing=landing)
        told = await until(lines(client, "/v1/migrations", since=since), lambda line: line["op"] == "put" and line["object"]["destination"])
        assert told[-1]["object"]["state"] == "preparing"
        assert await until(lines(other, "/v1/migrations", since=since), lambda line: line["op"] == "bookmark") == []
        since = told[-1]["revision"]
        await on_course(world, number, state=MigrationState.ABORTING)
        gone = await until(lines(client, "/v1/migrations", since=since, state="preparing"), lambda line: line["op"] != "bookmark")
        assert (gone[0]["op"], gone[0]["id"]) == ("delete", number)


def test_a_course_is_told_whole() -> None:
    """Whatever is added to the course or the wish has to be shown, or to be left out here by name."""
    from dataclasses import fields

    from houyi.model.migration import Migration, MigrationSpec
    from houyi.wire.v1.migration import Migration as Told

    hidden = {"orders", "epoch", "source_heard", "destination_heard", "gone", "spec", "course"}
    known = {one.name for shape in (Migration, MigrationSpec, MigrationCourse) for one in fields(shape)}
    assert known - hidden <= set(Told.model_fields)
