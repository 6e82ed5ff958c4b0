"""Moves in the store: landing claims beside homes, one open move a VM, what a host is told, and claims that were made before there were moves."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic import command

from houyi.model.errors import Conflict, NoCapacity, NotFound, Stale
from houyi.model.ids import HostId
from houyi.model.migration import End, Landing, Migration, MigrationState, ObservedMove, Order, Presence
from houyi.model.vm import DesiredVm
from houyi.store.claims import claim_host, claim_landing, claimed_on, drop_landing, settle_landing
from houyi.store.courses import move_course
from houyi.store.migrate import alembic_config
from houyi.store.rows.host import set_host_connected, update_host
from houyi.store.rows.migration import put_observed_move, update_migration
from houyi.store.rows.vm import insert_vm, remove_vm
from houyi.store.store import Store
from houyi.store.views.host import desired_of
from houyi.store.views.migration import get_migration, newest_epoch, open_migration_of, open_migrations
from houyi.store.views.vm import get_vm, hosts_of_changes
from made import a_migration, a_nic, a_vm, insert_move, put_host, put_image, put_network, put_projects

ROOM = {"vcpu": 4, "memory_mib": 1000}
SMALL = {"vcpu": 1, "memory_mib": 300}


async def placed(store: Store) -> tuple[DesiredVm, HostId, HostId]:
    """A VM at its home, and another host."""
    await put_projects(store)
    image, network = await put_image(store), await put_network(store)
    vm = a_vm(image, nics=(a_nic(network, 1, "10.80.0.9"),))
    await store.apply([insert_vm(vm, False, 1.0)])
    home, other = await put_host(store, "h1"), await put_host(store, "h2", at=2.0)
    await store.apply([claim_host(vm, home, SMALL, ROOM, 5.0)])
    return (await store.read(lambda c: get_vm(c, vm.id, None))).desired, home, other


async def begun(store: Store) -> tuple[Migration, DesiredVm]:
    vm, home, other = await placed(store)
    one = a_migration(vm, home, other)
    await store.apply([insert_move(one, vm), claim_landing(one, SMALL, ROOM, 9.0)])
    return await store.read(lambda c: get_migration(c, one.id, None)), vm


async def on_course(store: Store, one: Migration, state: MigrationState, orders: dict[End, Order]) -> Migration:
    await store.apply([move_course(one, replace(one.course, state=state, orders=orders))])
    return await store.read(lambda c: get_migration(c, one.id, None))


async def test_a_landing_is_held_beside_the_home(store: Store) -> None:
    one, vm = await begun(store)
    assert await store.read(lambda c: claimed_on(c, one.source_id)) == SMALL
    assert await store.read(lambda c: claimed_on(c, one.destination_id)) == SMALL
    found = await store.read(lambda c: get_vm(c, vm.id, None))
    assert (found.host_id, found.desired.epoch, found.migration_id) == (one.source_id, 1, None)
    assert (one.vm_name, one.source_heard, one.destination_heard, one.epoch) == (vm.name, True, True, 2)


async def test_room_is_what_homes_and_landings_leave(store: Store) -> None:
    vm, home, other = await placed(store)
    one = a_migration(vm, home, other)
    with pytest.raises(NoCapacity):
        await store.apply([insert_move(one, vm), claim_landing(one, SMALL, {"vcpu": 0, "memory_mib": 1000}, 9.0)])
    assert await store.read(open_migrations) == []


@pytest.mark.parametrize("end", ["settled", "dropped"])
async def test_a_landing_ends_in_one_way(store: Store, end: str) -> None:
    one, vm = await begun(store)
    await store.apply([settle_landing(one) if end == "settled" else drop_landing(one)])
    found = await store.read(lambda c: get_vm(c, vm.id, None))
    expected = (one.destination_id, 2) if end == "settled" else (one.source_id, 1)
    assert (found.host_id, found.desired.epoch) == expected
    left = one.source_id if end == "settled" else one.destination_id
    assert await store.read(lambda c: claimed_on(c, left)) == {}
    assert await store.read(lambda c: claimed_on(c, expected[0])) == SMALL
    with pytest.raises(Stale, match="settled or given up"):
        await store.apply([settle_landing(one)])
    await store.apply([drop_landing(one)])


async def test_a_second_move_of_the_vm_is_refused_until_the_first_has_ended(store: Store) -> None:
    one, vm = await begun(store)
    second = a_migration(vm, one.source_id, one.destination_id)
    with pytest.raises(Conflict) as refused:
        await store.apply([insert_move(second, vm)])
    assert refused.value.code == "vm_migrating"
    await on_course(store, one, MigrationState.CANCELLED, {})
    await store.apply([insert_move(second, vm)])
    assert (await store.read(lambda c: open_migration_of(c, vm.id))).id == second.id  # type: ignore[union-attr]
    assert await store.read(lambda c: newest_epoch(c, vm.id)) == 2


@pytest.mark.parametrize(
    ("state", "holds"), [("queued", False), ("preparing", True), ("moving", True), ("unknown", True), ("aborting", False), ("cancelled", False)]
)
async def test_a_vm_is_held_while_it_is_on_its_way(store: Store, state: str, holds: bool) -> None:
    one, vm = await begun(store)
    for step in {"unknown": ["preparing", "moving"], "moving": ["preparing"], "aborting": ["preparing"]}.get(state, []):
        one = await on_course(store, one, MigrationState(step), {})
    if state != "queued":
        await on_course(store, one, MigrationState(state), {})
    assert ((await store.read(lambda c: get_vm(c, vm.id, None))).migration_id is not None) is holds


async def test_a_course_is_moved_on_by_who_has_seen_the_last(store: Store) -> None:
    one, _vm = await begun(store)
    await on_course(store, one, MigrationState.PREPARING, {})
    with pytest.raises(Stale, match="another server"):
        await on_course(store, one, MigrationState.CANCELLED, {})


async def test_each_end_is_told_its_part(store: Store) -> None:
    one, _vm = await begun(store)
    assert (await store.read(lambda c: desired_of(c, one.source_id))).moves == ()
    one = await on_course(store, one, MigrationState.PREPARING, {End.SOURCE: Order.STAND_BY, End.DESTINATION: Order.PREPARE})
    landing = Landing(address="10.0.0.2", port=1, tls_name="x")
    ready = ObservedMove(id=one.id, end=End.DESTINATION, presence=Presence.NONE, order=Order.PREPARE, ready=True, landing=landing)
    await store.apply([put_observed_move(one, one.destination_id, ready)])
    source, destination = [await store.read(lambda c, host=host: desired_of(c, host)) for host in (one.source_id, one.destination_id)]
    (told,) = source.moves
    assert (told.end, told.order, told.peer, told.landing, told.vm.epoch) == (End.SOURCE, Order.STAND_BY, one.destination_id, landing, 2)
    assert [one.epoch for one in source.vms] == [1]
    (told,) = destination.moves
    assert (told.end, told.order, told.peer, told.vm.epoch) == (End.DESTINATION, Order.PREPARE, one.source_id, 2)
    assert destination.vms == ()
    assert [reservation.address for network in destination.networks for reservation in network.reservations] == ["10.80.0.9"]
    assert len(destination.images) == 1
    found = await store.read(lambda c: get_migration(c, one.id, None))
    assert (found.destination, found.source) == (ready, None)


async def test_a_change_of_a_move_concerns_its_two_hosts(store: Store) -> None:
    one, _vm = await begun(store)
    await put_host(store, "h3", at=3.0)
    since = store.revision
    await store.apply([update_migration(one, replace(one.spec, cancelled=True))])
    assert await store.read(lambda c: hosts_of_changes(c, since, store.revision)) == (store.revision, {one.source_id, one.destination_id})
    assert (await store.read(lambda c: get_migration(c, one.id, None))).spec.cancelled


async def test_a_silent_end_is_known(store: Store) -> None:
    one, _vm = await begun(store)
    await store.apply([set_host_connected(one.destination_id, False, None)])
    found = await store.read(lambda c: get_migration(c, one.id, None))
    assert (found.source_heard, found.destination_heard) == (True, False)


async def test_a_move_outlives_its_vm(store: Store) -> None:
    one, vm = await begun(store)
    one = await on_course(store, one, MigrationState.PREPARING, {End.SOURCE: Order.STAND_BY})
    await store.apply([remove_vm(vm.id, vm.project_id)])
    assert await store.read(lambda c: claimed_on(c, one.destination_id)) == {}
    (told,) = (await store.read(lambda c: desired_of(c, one.source_id))).moves
    assert (told.vm.id, told.vm.epoch) == (vm.id, 2)
    with pytest.raises(NotFound):
        await store.apply([settle_landing(one)])


async def test_no_landing_on_a_cordoned_host_or_away_from_another_home(store: Store) -> None:
    vm, home, other = await placed(store)
    for one, code in ((a_migration(vm, other, home), "vm_moved"), (a_migration(vm, home, other), "host_cordoned")):
        if code == "host_cordoned":
            await store.apply([update_host(other, cordoned=True, drain_id=None, labels={})])
        with pytest.raises(Stale) as refused:
            await store.apply([insert_move(one, vm), claim_landing(one, SMALL, ROOM, 9.0)])
        assert refused.value.code == code


async def test_claims_of_before_keep_their_place(store: Store) -> None:
    """Down to the schema without moves, and up again: homes stay, with their amounts."""
    one, vm = await begun(store)

    def there_and_back(connection: sa.Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.execute(sa.text("SELECT vm_id, host_id FROM claim")).all() == [(vm.id, one.source_id)]
        command.upgrade(config, "head")

    await store.apply([], [there_and_back])
    found = await store.read(lambda c: get_vm(c, vm.id, None))
    assert (found.host_id, found.desired.epoch) == (one.source_id, 1)
    assert await store.read(lambda c: claimed_on(c, one.source_id)) == SMALL
    assert await store.read(lambda c: claimed_on(c, one.destination_id)) == {}
