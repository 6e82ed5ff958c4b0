"""The ports of tuning: settings that a guest was started with are read back, live ones are turned; knobs of the machine are read, and nothing else is taken."""

from dataclasses import replace

import pytest

from contract.hosts import Host, new_vm
from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.tuning import Scope
from houyi.planning.tuning.knobs import BY_NAME

SETTINGS = {"hpet": "on", "io_threads": "2", "disk_queues": "1", "page_sharing": "off", "free_page_reporting": "off", "disk_event_idx": "off"}
"""What any machine can have, emulated or not."""


async def test_what_a_guest_was_started_with_is_read_back(host: Host) -> None:
    vm = replace(new_vm(vcpus=2), tuning=SETTINGS)
    await host.have_disk(vm)
    await host.ports.machine.start(vm)
    seen = (await host.ports.machine.observe())[vm.id].tuned
    assert SETTINGS.items() <= seen.items()
    await host.ports.machine.destroy(vm.id)
    assert (await host.ports.machine.observe())[vm.id].tuned == {}


async def test_live_knobs_are_turned_and_put_back(host: Host) -> None:
    vm = replace(new_vm(), tuning={"io_poll_ns": "1000"})
    await host.have_disk(vm)
    await host.ports.machine.start(vm)

    async def seen() -> str:
        return (await host.ports.machine.observe())[vm.id].tuned.get("io_poll_ns", "auto")

    assert await seen() == "1000"
    for value in ("0", "50000", "auto"):
        await host.ports.live_knobs.turn(vm.id, {"io_poll_ns": value})
        assert await seen() == value
    with pytest.raises(Failed) as refused:
        await host.ports.live_knobs.turn(vm.id, {"hpet": "on"})
    assert refused.value.code == "knob_not_live"
    await host.ports.machine.destroy(vm.id)
    with pytest.raises(Conflict):
        await host.ports.live_knobs.turn(vm.id, {"io_poll_ns": "0"})


async def test_knobs_of_the_machine_are_named_as_ours(host: Host) -> None:
    found = await host.ports.tuner.read()
    assert all(BY_NAME[name].scope is Scope.HOST and value for name, value in found.items())
    for name in ("warp", "../x", "pv_ipi"):
        with pytest.raises(Failed) as refused:
            await host.ports.tuner.set(name, "on")
        assert refused.value.code == "knob_missing"
    for name in found:
        with pytest.raises(Invalid):
            await host.ports.tuner.set(name, "no such value")
