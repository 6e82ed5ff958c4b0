"""What the ends of a move testify: taken of the end that a host is, once, while the move is open."""

from dataclasses import replace
from typing import Any

import pytest

from desk import Desk
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.intake.host import take_hello
from houyi.control.intake.vm import take_report
from houyi.control.reconcilers.placement import place_vms
from houyi.model.ids import HostId, MigrationId, VmId
from houyi.model.migration import End, Figures, GuestSample, Landing, Migration, MigrationState, ObservedMove, Order, Presence
from houyi.store.changes import changes_since
from houyi.store.courses import move_course
from houyi.store.rows.vm import SAMPLES_KEPT, add_sample, remove_vm
from houyi.store.views.host import reports_of
from houyi.store.views.migration import get_migration, migrations_by_id, samples_of
from houyi.store.views.vm import get_vm
from made import MINE, OTHER, a_migration, facts, insert_move, load, new_id, put_host

SENDING = {"end": End.SOURCE, "presence": Presence.SENDING, "order": Order.MOVE, "busy": True}
INCOMING = {"end": End.DESTINATION, "presence": Presence.INCOMING, "order": Order.PREPARE, "ready": True}


async def begun(desk: Desk) -> Migration:
    """A VM of `desk.host_id` that is to go to another host."""
    await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    vm = (await desk.store.read(lambda c: get_vm(c, "hello", None))).desired
    one = a_migration(vm, desk.host_id, await put_host(desk.store, "h2"))
    await desk.store.apply([insert_move(one, vm)])
    return one


async def look(desk: Desk, one: Migration) -> Migration:
    return await desk.store.read(lambda c: get_migration(c, one.id, None))


async def tell(desk: Desk, serial: int, *moves: ObservedMove, host_id: HostId | None = None, instance: str = "i1", samples: Any = ()) -> bool:
    return await take_report(desk.control, host_id or desk.host_id, instance, serial, load(), (), (), (), moves, samples)


def says(one: Migration, **values: Any) -> ObservedMove:
    return ObservedMove(id=one.id, **values)


async def test_each_end_testifies_for_itself(both: Desk) -> None:
    one = await begun(both)
    landing = Landing(address="192.0.2.2", port=1, tls_name="h2.hosts.houyi", domain_xml="<domain/>")
    source, destination = says(one, **SENDING, figures=Figures(rounds=2)), says(one, **INCOMING, landing=landing)
    assert await tell(both, 1, source)
    assert await tell(both, 1, destination, host_id=one.destination_id)
    seen = await look(both, one)
    assert (seen.source, seen.destination) == (source, destination)


@pytest.mark.parametrize("end", End)
async def test_nobody_testifies_for_another(desk: Desk, end: End) -> None:
    one = await begun(desk)
    stranger = await put_host(desk.store, "stranger")
    wrong = {End.SOURCE: one.destination_id, End.DESTINATION: one.source_id}[end]
    gone = says(one, end=end, presence=Presence.NONE, order=Order.MOVE, over=True, went=True)
    for host_id in (stranger, wrong):
        assert await tell(desk, 1, gone, host_id=host_id)
    assert ((await look(desk, one)).source, (await look(desk, one)).destination) == (None, None)


async def test_what_is_repeated_is_not_written_again(desk: Desk) -> None:
    one = await begun(desk)
    await tell(desk, 1, says(one, **SENDING, at=1.0))
    before = desk.store.revision
    await tell(desk, 2, says(one, **SENDING, at=2.0))
    assert desk.store.revision == before
    await tell(desk, 3, says(one, **SENDING, at=3.0, progress=0.5))
    changed = await desk.store.read(lambda c: changes_since(c, before, ("migration",), MINE))
    assert [change.id for change in changed] == [one.id]
    known = await desk.store.read(lambda c: reports_of(c, desk.host_id))
    assert known is not None
    assert known.serial == 3, "what is older can no longer be taken for newer"


async def test_what_is_old_is_dropped(desk: Desk) -> None:
    one = await begun(desk)
    over = says(one, end=End.SOURCE, presence=Presence.LIVE, order=Order.MOVE, over=True)
    assert await tell(desk, 5, over)
    assert not await tell(desk, 4, says(one, **SENDING))
    await take_hello(desk.control, desk.host_id, "i2", facts())
    assert not await tell(desk, 9, says(one, **SENDING))
    assert (await look(desk, one)).source == over
    assert await tell(desk, 1, replace(over, order=Order.RELEASE), instance="i2")
    assert (await look(desk, one)).source == replace(over, order=Order.RELEASE)


async def test_moves_that_ended_or_never_were_are_passed_over(desk: Desk) -> None:
    one = await begun(desk)
    await desk.store.apply([move_course(one, replace(one.course, state=MigrationState.CANCELLED))])
    assert await tell(desk, 1, says(one, **SENDING), replace(says(one, **SENDING), id=MigrationId(new_id())))
    assert (await look(desk, one)).source is None


async def test_moves_by_id_are_shown_to_their_project(desk: Desk) -> None:
    one = await begun(desk)
    assert list(await desk.store.read(lambda c: migrations_by_id(c, [one.id, new_id()], MINE))) == [one.id]
    assert await desk.store.read(lambda c: migrations_by_id(c, [one.id], OTHER)) == {}


async def test_samples_of_its_own_guests_are_kept(both: Desk) -> None:
    """The newest of them, until the VM is gone; of others, and of what is no number, nothing."""
    one = await begun(both)
    first = GuestSample(vm_id=one.vm_id, dirty_mib_s=3.0, memory_mib=70.0, disk_mib=5.0, at=1.0)
    odd = [replace(first, dirty_mib_s=value) for value in (-1.0, float("inf"), float("nan"))]
    assert await tell(both, 1, samples=(first, *odd, replace(first, vm_id=VmId(new_id()))))
    assert await tell(both, 1, samples=(replace(first, dirty_mib_s=99.0),), host_id=one.destination_id), "which does not have it"
    assert await both.store.read(lambda c: samples_of(c, [one.vm_id])) == {one.vm_id: (first,)}
    more = [replace(first, at=float(number)) for number in range(2, SAMPLES_KEPT + 3)]
    assert await tell(both, 2, samples=more)
    assert (await both.store.read(lambda c: samples_of(c, [one.vm_id])))[one.vm_id] == tuple(more[-SAMPLES_KEPT:])
    await both.store.apply([remove_vm(one.vm_id, one.project_id)])
    assert await tell(both, 3, samples=(first,))
    await both.store.apply([add_sample(first, one.project_id)])
    assert await both.store.read(lambda c: samples_of(c, [one.vm_id])) == {}
