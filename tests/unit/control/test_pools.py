"""Pools from the wish to what hosts are told."""

from collections import Counter

import pytest

from desk import Desk
from houyi.control.commands.host import remove_host, update_host_desired
from houyi.control.commands.pool import create_pool, delete_pool
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.host import take_hello
from houyi.control.intake.pool import take_answer
from houyi.control.reconcilers.placement import place_vms
from houyi.control.reconcilers.pools import settle_pools
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import Conflict, HouyiError, Invalid, NoCapacity, NotFound, Stale
from houyi.model.ids import HostId
from houyi.model.pool import Pool, PoolAnswer
from houyi.store.claims import claim_host
from houyi.store.views.event import list_events
from houyi.store.views.host import DesiredOfHost, desired_of, get_host
from houyi.store.views.page import EVERYTHING
from houyi.store.views.pool import answer_of, get_pool
from made import facts, put_host

CPU = GuestCpu(model="EPYC", vendor="AMD", required=("aes", "avx"))


async def refused(kind: type[HouyiError], code: str, doing: object) -> HouyiError:
    with pytest.raises(kind) as caught:
        await doing  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value


async def pool(desk: Desk) -> Pool:
    return await desk.store.read(lambda c: get_pool(c, "new"))


async def told(desk: Desk) -> DesiredOfHost:
    return await desk.store.read(lambda c: desired_of(c, desk.host_id))


async def into(desk: Desk, name: str | None = "new") -> None:
    await update_host_desired(desk.control, desk.admin, desk.host_id, pool=name)


async def speaks(desk: Desk, cpu: GuestCpu | None = CPU) -> None:
    await take_hello(desk.control, desk.host_id, "i1", facts(guest_cpu=cpu, cpu_features=cpu.required if cpu else ()))


async def answered(desk: Desk, *features: str, host_id: HostId | None = None) -> None:
    ask = (await pool(desk)).status.ask
    assert ask is not None
    baseline = CpuBaseline(cpu=GuestCpu(model="EPYC", required=features), features=features)
    await take_answer(desk.control, host_id or desk.host_id, PoolAnswer(pool_id=ask.pool_id, digest=ask.digest, baseline=baseline))


async def kinds(desk: Desk) -> list[str]:
    return [event.kind for event in (await desk.store.read(lambda c: list_events(c, None, EVERYTHING))).items]


async def test_a_pool_and_who_is_in_it(desk: Desk) -> None:
    made = await create_pool(desk.control, desk.admin, "new")
    await refused(Conflict, "name_taken", create_pool(desk.control, desk.admin, "new"))
    await refused(Invalid, "name_invalid", create_pool(desk.control, desk.admin, "New!"))
    await refused(NotFound, "pool_not_found", into(desk, "nosuch"))
    await into(desk)
    host = await desk.store.read(lambda c: get_host(c, desk.host_id))
    assert (host.pool_id, host.pool_name) == (made.id, "new")
    assert dict((await pool(desk)).hosts) == {desk.host_id: host.name}
    no = await refused(Conflict, "pool_in_use", delete_pool(desk.control, desk.admin, "new"))
    assert host.name in no.detail
    other = await create_pool(desk.control, desk.admin, "other")
    await into(desk, "other")
    host = await desk.store.read(lambda c: get_host(c, desk.host_id))
    assert host.pool_id == other.id, "a host is in one pool at most"
    await delete_pool(desk.control, desk.admin, "new")
    await into(desk, "")
    await delete_pool(desk.control, desk.admin, "other")
    told_of = Counter(kind for kind in await kinds(desk) if kind.startswith("pool.") or kind == "host.pool")
    assert told_of == {"pool.create": 2, "host.pool": 3, "pool.delete": 2}


async def test_a_removed_host_leaves_its_pool(desk: Desk) -> None:
    await create_pool(desk.control, desk.admin, "new")
    await into(desk)
    await remove_host(desk.control, desk.admin, desk.host_id)
    await delete_pool(desk.control, desk.admin, "new")


async def test_from_the_question_to_the_cpu_of_a_vm(desk: Desk) -> None:
    await create_pool(desk.control, desk.admin, "new")
    await into(desk)
    await settle_pools(desk.control)
    assert "has not said what its CPU is" in (await pool(desk)).status.trouble
    await speaks(desk)
    await settle_pools(desk.control)
    ask = (await told(desk)).pool
    assert ask is not None
    assert ask.cpus == (CPU,)
    await create_vm(desk.control, desk.me, VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    assert [vm.cpu for vm in (await told(desk)).vms] == [None], "until it is known, it is the host's own choice"
    await answered(desk, "aes")
    await settle_pools(desk.control)
    assert [vm.cpu for vm in (await told(desk)).vms] == [GuestCpu(model="EPYC", required=("aes",))]
    before = await pool(desk)
    await settle_pools(desk.control)
    assert await pool(desk) == before, "nothing is written where nothing changes"
    assert (await kinds(desk)).count("pool.baseline") == 1


async def test_what_is_no_answer_is_dropped(desk: Desk) -> None:
    made = await create_pool(desk.control, desk.admin, "new")
    await into(desk)
    await speaks(desk)
    await settle_pools(desk.control)
    stranger = await put_host(desk.store, "h2", at=desk.clock.now())
    await answered(desk, "aes", host_id=stranger)
    assert await desk.store.read(lambda c: answer_of(c, stranger)) is None, "it is not in the pool"
    await answered(desk, "<aes>")
    await answered(desk, "b", "a")
    late = PoolAnswer(pool_id=made.id, digest="another question", baseline=None)
    await take_answer(desk.control, desk.host_id, late)
    assert await desk.store.read(lambda c: answer_of(c, desk.host_id)) is None


async def test_what_a_host_says_of_its_cpu_is_looked_at(desk: Desk) -> None:
    await speaks(desk, GuestCpu(model="<EPYC>", required=("aes",)))
    host = await desk.store.read(lambda c: get_host(c, desk.host_id))
    assert host.facts is not None
    assert (host.facts.guest_cpu, host.facts.cpu_features) == (None, ("aes",))


async def test_a_vm_of_a_pool(desk: Desk) -> None:
    made = await create_pool(desk.control, desk.admin, "new")
    ask = VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128, pool="new")
    no = await refused(NoCapacity, "no_capacity", create_vm(desk.control, desk.me, ask))
    assert "1 host: not in the pool" in no.detail
    await into(desk)
    vm, _ = await create_vm(desk.control, desk.me, ask)
    assert vm.desired.spec.pool_id == made.id
    await place_vms(desk.control)
    no_way = await refused(Conflict, "pool_vms_here", into(desk, ""))
    assert "(vm)" in no_way.detail
    await refused(NotFound, "pool_not_found", create_vm(desk.control, desk.me, VmAsk(name="x", image="tiny", vcpus=1, memory_mib=128, pool="nosuch")))


async def test_a_host_that_leaves_while_a_vm_is_placed(desk: Desk) -> None:
    """The claim looks again in its own transaction."""
    await create_pool(desk.control, desk.admin, "new")
    await into(desk)
    vm, _ = await create_vm(desk.control, desk.me, VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128, pool="new"))
    await into(desk, "")
    amounts, limits = {"vcpu": 1, "memory_mib": 128}, {"vcpu": 4, "memory_mib": 8192}
    await refused(Stale, "pool_left", desk.store.apply([claim_host(vm.desired, desk.host_id, amounts, limits, 1.0)]))
    await place_vms(desk.control)
    assert (await told(desk)).vms == ()
    await into(desk)
    await place_vms(desk.control)
    assert [one.id for one in (await told(desk)).vms] == [vm.desired.id]


async def test_features_that_it_asks_for(desk: Desk) -> None:
    await speaks(desk)
    ask = VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128, cpu_features=["avx512f"])
    no = await refused(NoCapacity, "no_capacity", create_vm(desk.control, desk.me, ask))
    assert "the CPU cannot be had there" in no.detail
    wrong = VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128, cpu_features=["<x>"])
    await refused(Invalid, "cpu_features_invalid", create_vm(desk.control, desk.me, wrong))
    vm, _ = await create_vm(desk.control, desk.me, VmAsk(name="vm", image="tiny", vcpus=1, memory_mib=128, cpu_features=["avx", "aes", "avx"]))
    assert vm.desired.spec.cpu_features == ("aes", "avx")
