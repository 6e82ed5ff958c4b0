"""Tuning through the API: what is asked of a VM and a host, what comes of it there, and what would help."""

from dataclasses import replace

from houyi.control.intake.tuning import take_tuned
from houyi.model.tuning import HostTuned
from houyi.model.vm import VmState
from houyi.planning.tuning.knobs import KNOBS
from houyi.planning.tuning.profiles import PROFILES
from houyi.store.views.host import desired_of, get_host
from unit.api.world import World


async def test_what_there_is(small_world: World) -> None:
    async with small_world.client("member") as client:
        assert [one["name"] for one in (await client.get("/v1/knobs")).json()["items"]] == [knob.name for knob in KNOBS]
        assert (await client.get("/v1/knobs/net_poll_us")).json()["numbers"] == {"least": 1, "most": 10000, "unit": "us", "needs": ["kvm"]}
        assert (await client.get("/v1/knobs/warp")).json()["code"] == "knob_not_found"
        assert [one["name"] for one in (await client.get("/v1/profiles")).json()["items"]] == [profile.name for profile in PROFILES]
        assert (await client.get("/v1/profiles/dense")).json()["host"]["ksm"] == "on"
        assert (await client.get("/v1/profiles/fast")).json()["code"] == "profile_not_found"


async def test_a_vm_is_tuned_and_its_host_hears_what_holds_there(small_world: World) -> None:
    vm = await small_world.new_vm(state=VmState.RUNNING)
    async with small_world.client("member") as client:
        where = f"/v1/vms/{vm.id}"
        assert (await client.patch(where, json={"profile": "latency", "knobs": {"hpet": "on"}})).status_code == 200
        shown = (await client.get(where)).json()
        assert (shown["profile"], shown["knobs"]) == ("latency", {"hpet": "on"})
        tuning = {one["knob"]: one for one in (await client.get(f"{where}/tuning")).json()["settings"]}
        assert (tuning["hpet"]["source"], tuning["hpet"]["value"], tuning["hpet"]["in_force"]) == ("own", "on", False)
        assert "no KVM" in tuning["pv_ipi"]["why_not"]
        told = await small_world.store.read(lambda c: desired_of(c, small_world.host_id))
        (mine,) = [one for one in told.vms if one.id == vm.id]
        assert mine.tuning["hpet"] == "on"
        assert "pv_ipi" not in mine.tuning


async def test_what_its_host_cannot_have_is_refused_at_once(small_world: World) -> None:
    vm = await small_world.new_vm(state=VmState.RUNNING)
    async with small_world.client("member") as client:
        refused = await client.patch(f"/v1/vms/{vm.id}", json={"knobs": {"pv_ipi": "on"}})
        assert (refused.status_code, refused.json()["code"]) == (409, "knob_unavailable")
        for body, code in (
            ({"knobs": {"warp": "9"}}, "knob_unknown"),
            ({"knobs": {"hpet": "maybe"}}, "knob_value_invalid"),
            ({"profile": "fast"}, "profile_unknown"),
        ):
            refused = await client.patch(f"/v1/vms/{vm.id}", json=body)
            assert (refused.status_code, refused.json()["code"]) == (400, code)


async def test_a_vm_gets_the_profile_of_its_type_unless_it_names_one(world: World) -> None:
    image = await world.new_image()
    async with world.client("admin") as client:
        kind = (await client.post("/v1/vm-types", json={"name": "fast", "vcpus": 1, "memory_mib": 128, "disk_gib": 1, "profile": "latency"})).json()
        assert kind["profile"] == "latency"
        assert (await client.patch("/v1/vm-types/fast", json={"profile": "slow"})).json()["code"] == "profile_unknown"
    async with world.client("member") as client:
        for name, asked, given in (("a", {}, "latency"), ("b", {"profile": "dense"}, "dense")):
            made = await client.post("/v1/vms", json={"name": name, "image": image.id, "type": "fast", "nics": [], "disk_gib": 4, **asked})
            assert made.status_code == 202, made.text
            assert (await client.get(f"/v1/vms/{name}")).json()["profile"] == given


async def test_a_host_is_tuned_and_tells_what_it_is(small_world: World) -> None:
    async with small_world.client("admin") as client:
        where = f"/v1/hosts/{small_world.host_id}"
        shown = (await client.patch(where, json={"profile": "dense", "knobs": {"ksm": "off"}})).json()
        assert (shown["profile"], shown["knobs"], shown["tuned"]) == ("dense", {"ksm": "off"}, None)
        assert (await client.patch(where, json={"knobs": {"hpet": "on"}})).json()["code"] == "knob_scope"
        told = await small_world.store.read(lambda c: desired_of(c, small_world.host_id))
        assert (told.tuning.profile, dict(told.tuning.knobs)) == ("dense", {"ksm": "off"})
        said = HostTuned(values={"ksm": "off", "../x": "1", "hpet": "on"}, before={"ksm": "on"}, problems={"thp": "x" * 9000})
        await take_tuned(small_world.control, small_world.host_id, said)
        tuned = (await client.get(where)).json()["tuned"]
        assert (tuned["values"], tuned["before"], len(tuned["problems"]["thp"])) == ({"ksm": "off"}, {"ksm": "on"}, 500)
        before = await small_world.store.read(lambda c: get_host(c, small_world.host_id))
        await take_tuned(small_world.control, small_world.host_id, replace(said, problems={"thp": "x" * 9001}))
        assert (await small_world.store.read(lambda c: get_host(c, small_world.host_id))).revision == before.revision, "no news"
        await client.patch(where, json={"profile": "", "knobs": {}})


async def test_the_profile_of_a_host_is_that_of_its_vms_that_name_none(small_world: World) -> None:
    vm = await small_world.new_vm(state=VmState.RUNNING)
    async with small_world.client("admin") as client:
        await client.patch(f"/v1/hosts/{small_world.host_id}", json={"profile": "dense"})
        told = await small_world.store.read(lambda c: desired_of(c, small_world.host_id))
        (mine,) = [one for one in told.vms if one.id == vm.id]
        assert mine.tuning["io_poll_ns"] == "0"
        tuning = (await client.get(f"/v1/vms/{vm.id}/tuning")).json()
        assert (tuning["profile"], tuning["host_profile"]) == ("", "dense")
        assert {one["source"] for one in tuning["settings"]} == {"host_profile"}
        await client.patch(f"/v1/hosts/{small_world.host_id}", json={"profile": ""})


async def test_without_counters_there_is_no_advice(small_world: World) -> None:
    vm = await small_world.new_vm(state=VmState.RUNNING)
    async with small_world.client("member") as client:
        assert (await client.get(f"/v1/vms/{vm.id}/advice")).json() == {"exits_s": 0.0, "symptoms": {}, "seconds": 0.0, "advice": []}


async def test_advice_by_what_is_traced_while_one_waits(small_world: World) -> None:
    small_world.far.reset()
    vm = await small_world.new_vm(state=VmState.RUNNING)
    async with small_world.client("member") as client:
        answer = await client.post(f"/v1/vms/{vm.id}/advice", json={"seconds": 2.5})
        assert answer.status_code == 200, answer.text
        assert small_world.far.profiled == [(small_world.host_id, vm.id, 2.5)]
        assert (answer.json()["exits_s"], answer.json()["symptoms"]) == (5.5, {"timer": 4.0, "msr": 1.0, "halt": 0.5})
        assert answer.json()["advice"] == [], "so few are worth none"
