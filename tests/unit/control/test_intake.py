"""What hosts say: believed about what is theirs and is new, written in one transaction, and otherwise dropped."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from desk import Desk
from houyi.control.commands.host import remove_host
from houyi.control.commands.vm import delete_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.host import take_goodbye, take_hello
from houyi.control.intake.vm import Happened, take_report
from houyi.control.reconcilers.hosts import expire_hosts
from houyi.control.reconcilers.placement import place_vms
from houyi.model.errors import NotFound, Problem
from houyi.model.host import HostState, effective_host
from houyi.model.ids import VmId
from houyi.model.vm import EffectiveState, ObservedVm, StateReason, Vm, VmState, effective
from houyi.store.changes import changes_since
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host, reports_of
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import get_vm
from made import MINE, an_observation, facts, load, new_id, put_host


async def placed(desk: Desk, name: str = "hello") -> Vm:
    await create_vm(desk.control, desk.me, VmAsk(name=name, image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    return await look(desk, name)


async def look(desk: Desk, name: str = "hello") -> Vm:
    return await desk.store.read(lambda c: get_vm(c, name, None))


async def tell(desk: Desk, serial: int, *vms: ObservedVm, gone: tuple[VmId, ...] = (), happened: tuple[Happened, ...] = (), **values: Any) -> bool:
    return await take_report(
        desk.control, values.get("host_id", desk.host_id), values.get("instance", "i1"), serial, load(vms_running=serial), vms, gone, happened
    )


async def events(desk: Desk, kind: str) -> list[tuple[str, dict[str, str], str]]:
    found = (await desk.store.read(lambda c: list_events(c, None, EVERYTHING, kind=kind))).items
    return [(event.detail, dict(event.data), event.actor) for event in found]


async def test_an_observation_is_written_with_its_event_in_one_transaction(desk: Desk) -> None:
    vm = await placed(desk)
    before = desk.store.revision
    observed = an_observation(vm.desired, VmState.RUNNING, accelerator="qemu", started_at=5.0)
    assert await tell(desk, 1, observed)
    assert desk.store.revision == before + 1
    assert (await look(desk)).observed == observed
    assert await events(desk, "vm.state") == [("now running", {"from": "", "to": "running", "reason": ""}, f"host:{desk.host_id}")]
    crashed = replace(observed, state=VmState.CRASHED, reason=StateReason.GUEST_PANIC, error=Problem("vm_crashed", "it died"))
    assert await tell(desk, 2, crashed)
    assert (await events(desk, "vm.state"))[1][:2] == (
        "now crashed (guest panic): it died",
        {"from": "running", "to": "crashed", "reason": "guest_panic", "code": "vm_crashed"},
    )
    assert await tell(desk, 3, replace(crashed, restarts=1))
    assert len(await events(desk, "vm.state")) == 2, "the state is the same"


async def test_a_repeated_observation_writes_nothing_of_the_vm(desk: Desk) -> None:
    vm = await placed(desk)
    observed = an_observation(vm.desired)
    await tell(desk, 1, observed)
    before = desk.store.revision
    await tell(desk, 2, observed)
    changes = await desk.store.read(lambda c: changes_since(c, before, ("vm", "event"), None))
    assert changes == []


async def test_old_reports_are_dropped(desk: Desk) -> None:
    vm = await placed(desk)
    newest = an_observation(vm.desired, VmState.STOPPED)
    assert await tell(desk, 5, newest)
    for serial, instance in ((5, "i1"), (4, "i1"), (6, "i0")):
        assert not await tell(desk, serial, an_observation(vm.desired, VmState.RUNNING), instance=instance)
    assert (await look(desk)).observed == newest
    assert not await tell(desk, 9, host_id=new_id())
    await take_hello(desk.control, desk.host_id, "i2", facts())
    assert not await tell(desk, 6, an_observation(vm.desired, VmState.RUNNING))
    assert await tell(desk, 1, an_observation(vm.desired, VmState.PAUSED), instance="i2")
    assert (await look(desk)).observed == an_observation(vm.desired, VmState.PAUSED)


async def test_of_reports_at_once_the_newest_stays(both: Desk) -> None:
    """Also when the older one is written later: the check is in its transaction."""
    vm = await placed(both)
    got = await asyncio.gather(*(tell(both, serial, an_observation(vm.desired, started_at=float(serial))) for serial in (3, 9, 1, 10, 2, 8)))
    observed = (await look(both)).observed
    assert observed is not None
    assert observed.started_at == 10.0
    assert got[3] is True
    known = await both.store.read(lambda c: reports_of(c, both.host_id))
    assert known is not None
    assert known.serial == 10


async def test_a_host_speaks_only_of_what_it_holds(desk: Desk) -> None:
    vm = await placed(desk)
    waiting, _ = await create_vm(desk.control, desk.me, VmAsk(name="waiting", image="tiny", vcpus=1, memory_mib=128))
    stranger = await put_host(desk.store, "stranger", capacity={})
    await delete_vm(desk.control, desk.me, "hello")
    seen = [an_observation(vm.desired), an_observation(waiting.desired), replace(an_observation(vm.desired), id=VmId(new_id()))]
    assert await tell(desk, 1, *seen, gone=(vm.desired.id,), happened=(Happened(vm.desired.id, "guest_panic", "x"),), host_id=stranger)
    after = await look(desk, vm.desired.id)
    assert (after.observed, (await look(desk, "waiting")).observed) == (None, None)
    assert await events(desk, "vm.guest_panic") == []


async def test_what_is_of_another_epoch_is_dropped_alone(desk: Desk) -> None:
    old, new = await placed(desk, "old"), await placed(desk, "new")
    assert await tell(desk, 1, an_observation(old.desired, epoch=0), an_observation(new.desired))
    assert (await look(desk, "old")).observed is None
    assert (await look(desk, "new")).observed == an_observation(new.desired)


async def test_what_happened_becomes_events(desk: Desk) -> None:
    vm = await placed(desk)
    said = (
        Happened(vm.desired.id, "guest_reboot", "the guest rebooted"),
        Happened(vm.desired.id, "io_error", "x" * 5000),
        Happened(vm.desired.id, "Not A Kind", "x"),
        Happened(vm.desired.id, "", "x"),
    )
    assert await tell(desk, 1, happened=said)
    assert await events(desk, "vm.guest_reboot") == [("the guest rebooted", {}, f"host:{desk.host_id}")]
    assert len((await events(desk, "vm.io_error"))[0][0]) == 1000
    mine = (await desk.store.read(lambda c: list_events(c, MINE, EVERYTHING, target_id=vm.desired.id))).items
    assert {event.kind for event in mine} == {"vm.create", "vm.placed", "vm.guest_reboot", "vm.io_error"}


async def test_a_host_whose_memory_fails_again_and_again_is_suspected(desk: Desk) -> None:
    hit, other = await placed(desk), await placed(desk, "other")
    stranger = await put_host(desk.store, "stranger", capacity={})
    failure = Happened(hit.desired.id, "memory_failure", "memory of the guest failed")
    assert await tell(desk, 1, happened=(failure, Happened(other.desired.id, "io_error", "vda")))
    assert await tell(desk, 1, happened=(failure, failure), host_id=stranger)
    assert await events(desk, "host.memory_suspected") == [], "one may be a cosmic ray, and a stranger is not believed"
    assert await tell(desk, 2, happened=(replace(failure, vm_id=other.desired.id),))
    ((detail, data, actor),) = await events(desk, "host.memory_suspected")
    assert ("houyi host drain" in detail, data, actor) == (True, {"errors": "2"}, f"host:{desk.host_id}")
    assert await tell(desk, 3, happened=(failure,))
    assert len(await events(desk, "host.memory_suspected")) == 1, "it has just been said"
    desk.clock.at += 3601
    assert await tell(desk, 4, happened=(failure,))
    assert [data for _, data, _ in await events(desk, "host.memory_suspected")] == [{"errors": "2"}, {"errors": "4"}]
    desk.clock.at += 8 * 86400
    assert await tell(desk, 5, happened=(failure,))
    assert len(await events(desk, "host.memory_suspected")) == 2, "what was a week ago does not count any more"


async def test_gone_is_believed_only_of_what_was_to_be_deleted(desk: Desk) -> None:
    vm = await placed(desk)
    assert await tell(desk, 1, gone=(vm.desired.id,))
    assert (await look(desk)).desired.id == vm.desired.id
    await delete_vm(desk.control, desk.me, "hello")
    assert await tell(desk, 2, gone=(vm.desired.id,))
    with pytest.raises(NotFound):
        await look(desk, vm.desired.id)
    assert (await desk.store.read(lambda c: get_host(c, desk.host_id))).claimed == {}
    assert [detail for detail, _, _ in await events(desk, "vm.deleted")] == ["nothing is left of it"]
    assert await tell(desk, 3, gone=(vm.desired.id,)), "it is told until the host has heard that nobody asks any more"
    assert len(await events(desk, "vm.deleted")) == 1


async def test_heartbeats_are_written_seldom_but_before_the_lease_ends(desk: Desk) -> None:
    """Lease 15 s: a heartbeat every second is written every five."""
    await take_hello(desk.control, desk.host_id, "i1", facts())
    before = desk.store.revision
    for serial in range(1, 31):
        desk.clock.at += 1.0
        assert await tell(desk, serial)
        await expire_hosts(desk.control)
        assert (await desk.store.read(lambda c: get_host(c, desk.host_id))).connected
    assert desk.store.revision - before == 6


async def test_a_lost_link_is_shown_when_the_lease_runs_out(desk: Desk) -> None:
    vm = await placed(desk)
    await take_hello(desk.control, desk.host_id, "i1", facts())
    await tell(desk, 1, an_observation(vm.desired))
    await take_goodbye(desk.control, desk.host_id, "i0")
    assert await events(desk, "host.disconnect") == [], "of an instance that was replaced"
    await take_goodbye(desk.control, desk.host_id, "i1")
    assert len(await events(desk, "host.disconnect")) == 1
    desk.clock.at += 14.0
    await expire_hosts(desk.control)
    assert effective(await look(desk)) is EffectiveState.RUNNING, "an agent that is back within the lease has not been away"
    desk.clock.at += 2.0
    before = desk.store.revision
    await expire_hosts(desk.control)
    assert effective(await look(desk)) is EffectiveState.UNKNOWN
    assert effective_host(await desk.store.read(lambda c: get_host(c, desk.host_id))) is HostState.UNREACHABLE
    told = await desk.store.read(lambda c: changes_since(c, before, ("vm",), MINE))
    assert [change.id for change in told] == [vm.desired.id], "watchers of the VM see that it is unknown"
    assert len(await events(desk, "host.unreachable")) == 1
    await expire_hosts(desk.control)
    assert len(await events(desk, "host.unreachable")) == 1


@pytest.mark.parametrize("by", ["hello", "heartbeat"])
async def test_a_host_that_is_back_is_shown_at_once(desk: Desk, by: str) -> None:
    vm = await placed(desk)
    await tell(desk, 1, an_observation(vm.desired))
    desk.clock.at += 60.0
    await expire_hosts(desk.control)
    before = desk.store.revision
    if by == "hello":
        await take_hello(desk.control, desk.host_id, "i2", facts())
    else:
        assert await tell(desk, 2)
        assert len(await events(desk, "host.reachable")) == 1
    assert effective(await look(desk)) is EffectiveState.RUNNING
    told = await desk.store.read(lambda c: changes_since(c, before, ("vm",), MINE))
    assert [change.id for change in told] == [vm.desired.id]
    await take_goodbye(desk.control, new_id(), "i1")  # type: ignore[arg-type]


async def test_a_host_that_was_removed_is_not_heard(desk: Desk) -> None:
    await remove_host(desk.control, desk.admin, "h1")
    with pytest.raises(NotFound):
        await take_hello(desk.control, desk.host_id, "i1", facts())
    assert not await tell(desk, 1)


async def test_what_a_host_is(desk: Desk) -> None:
    host = await take_hello(desk.control, desk.host_id, "i2", facts(cpus=16, memory_mib=64000, disk_gib=900))
    assert (host.capacity, host.facts) == ({"vcpu": 16, "memory_mib": 64000, "disk_gib": 900}, facts(cpus=16, memory_mib=64000, disk_gib=900))
    assert (host.connected, host.last_seen_at) == (True, 1000.0)
