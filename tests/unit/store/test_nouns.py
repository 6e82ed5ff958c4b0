"""Every noun goes in and comes out as it was, on both engines; names are unique, scopes hold, pages are stable."""

from dataclasses import replace
from typing import Any

import pytest

from houyi.model.errors import Conflict, Forbidden, NotFound, Stale
from houyi.model.event import Event
from houyi.model.host import effective_host
from houyi.model.ids import EventId, HostId, JoinTokenId, SshKeyId, TokenId, VmTypeId
from houyi.model.image import ImageState, ImageStatus
from houyi.model.join_token import JoinToken
from houyi.model.network import Reservation
from houyi.model.operation import OperationState
from houyi.model.ssh_key import SshKey
from houyi.model.token import Role, Token
from houyi.model.vm import EffectiveState, VmState, effective
from houyi.model.vm_type import VmType
from houyi.store.changes import changes_since
from houyi.store.claims import claim_host
from houyi.store.journal import insert_operation, move_operation, open_operations
from houyi.store.rows.event import insert_event
from houyi.store.rows.host import delete_host, expect_report, insert_host, put_host_load, set_host_connected, update_host
from houyi.store.rows.idempotency import remember
from houyi.store.rows.image import expect_image_kept, expect_image_unused, insert_image, mark_image_deleted, remove_image, set_image_status, update_image
from houyi.store.rows.join_token import delete_join_token, insert_join_token, use_join_token
from houyi.store.rows.network import delete_network, expect_network_fits, insert_network
from houyi.store.rows.project import delete_project
from houyi.store.rows.ssh_key import delete_ssh_key, insert_ssh_key
from houyi.store.rows.token import delete_token, insert_token
from houyi.store.rows.vm import expect_vm, insert_vm, put_observed, remove_vm, update_vm
from houyi.store.rows.vm_type import delete_vm_type, put_vm_type
from houyi.store.store import Store
from houyi.store.views.event import events_by_id, get_event, list_events
from houyi.store.views.host import desired_of, get_host, list_hosts, reports_of
from houyi.store.views.idempotency import find_answer
from houyi.store.views.image import all_image_ids, get_image, list_images, unsettled_images
from houyi.store.views.join_token import get_join_token, list_join_tokens
from houyi.store.views.network import get_network, list_networks, taken_addresses
from houyi.store.views.operation import get_operation, list_operations, open_with_vms
from houyi.store.views.page import EVERYTHING, Ask
from houyi.store.views.project import get_project, list_projects
from houyi.store.views.ssh_key import get_ssh_key, list_ssh_keys
from houyi.store.views.token import find_token, get_token, list_tokens
from houyi.store.views.vm import all_vms, get_vm, host_of, list_vms, unplaced_vms, vms_by_id, vms_of_host
from houyi.store.views.vm_type import get_vm_type, list_vm_types
from made import MINE, OTHER, a_network, a_nic, a_vm, an_image, an_observation, an_operation, load, new_id, put_host, put_image, put_network, put_projects


async def refused(store: Store, kind: type[Exception], code: str, *mutations: Any, expects: Any = ()) -> None:
    with pytest.raises(kind) as caught:
        await store.apply(mutations, expects)
    assert caught.value.code == code  # type: ignore[attr-defined]


async def test_projects(store: Store) -> None:
    await put_projects(store)
    assert (await store.read(lambda c: get_project(c, "mine"))).id == MINE
    assert [one.name for one in (await store.read(lambda c: list_projects(c, EVERYTHING))).items] == ["mine", "other"]
    image = await put_image(store)
    await refused(store, Conflict, "in_use", delete_project(MINE))
    await store.apply([delete_project(OTHER)])
    with pytest.raises(NotFound):
        await store.read(lambda c: get_project(c, OTHER))
    assert (await store.read(lambda c: get_image(c, image.id, MINE))).name == "tiny"


async def test_pages_are_stable_while_rows_come_and_go(store: Store) -> None:
    await put_projects(store)
    keys = [SshKey(id=SshKeyId(new_id()), project_id=MINE, name=f"k{n}", public_key="p", fingerprint="f", created_at=n // 2, revision=0) for n in range(9)]
    await store.apply([insert_ssh_key(key) for key in keys])
    expected = [key.id for key in sorted(keys, key=lambda key: (key.created_at, key.id))]
    seen: list[str] = []
    ask = Ask(limit=2)
    for _ in range(10):
        page = await store.read(lambda c, ask=ask: list_ssh_keys(c, MINE, ask))  # type: ignore[misc]
        seen += [key.id for key in page.items]
        if page.next is None:
            break
        ask = Ask(limit=2, after=page.next)
        if len(seen) == 4:  # one that was shown goes, one comes at the end
            gone = next(key for key in keys if key.id == seen[0])
            late = replace(gone, id=SshKeyId(new_id()), name="late", created_at=99.0)
            await store.apply([delete_ssh_key(gone), insert_ssh_key(late)])
            expected.append(late.id)
    assert seen == expected
    assert (await store.read(lambda c: list_ssh_keys(c, OTHER, EVERYTHING))).items == ()


async def test_ssh_keys_and_tokens_and_their_scopes(store: Store) -> None:
    await put_projects(store)
    key = SshKey(id=SshKeyId(new_id()), project_id=MINE, name="k", public_key="p", fingerprint="f", created_at=1.0, revision=0)
    token = Token(id=TokenId(new_id()), project_id=MINE, name="t", role=Role.MEMBER, secret_sha256="s", expires_at=0.0, created_at=1.0, revision=0)
    revision = await store.apply([insert_ssh_key(key), insert_token(token)])
    assert await store.read(lambda c: get_ssh_key(c, "k", MINE)) == replace(key, revision=revision)
    assert await store.read(lambda c: get_token(c, token.id, MINE)) == replace(token, revision=revision)
    assert await store.read(lambda c: find_token(c, token.id)) == replace(token, revision=revision)
    assert await store.read(lambda c: find_token(c, "t")) is None, "names open no door"
    for look in (lambda c: get_ssh_key(c, key.id, OTHER), lambda c: get_token(c, "t", OTHER)):
        with pytest.raises(NotFound):
            await store.read(look)
    await refused(store, Conflict, "name_taken", insert_ssh_key(replace(key, id=SshKeyId(new_id()))))
    await refused(store, Conflict, "name_taken", insert_token(replace(token, id=TokenId(new_id()))))
    await store.apply(
        [insert_ssh_key(replace(key, id=SshKeyId(new_id()), project_id=OTHER)), insert_token(replace(token, id=TokenId(new_id()), project_id=OTHER))]
    )
    assert len((await store.read(lambda c: list_ssh_keys(c, None, EVERYTHING))).items) == 2
    assert len((await store.read(lambda c: list_tokens(c, OTHER, EVERYTHING))).items) == 1
    await store.apply([delete_ssh_key(key), delete_token(token)])
    assert await store.read(lambda c: find_token(c, token.id)) is None


async def test_vm_types(store: Store) -> None:
    small = VmType(id=VmTypeId(new_id()), name="c1.small", vcpus=1, memory_mib=512, disk_gib=4, created_at=1.0, revision=0)
    await store.apply([put_vm_type(small)])
    await refused(store, Conflict, "name_taken", put_vm_type(replace(small, id=VmTypeId(new_id()))))
    await store.apply([put_vm_type(replace(small, vcpus=2))])
    assert await store.read(lambda c: get_vm_type(c, "c1.small")) == replace(small, vcpus=2, revision=2)
    await store.apply([delete_vm_type(small.id)])
    assert (await store.read(lambda c: list_vm_types(c, EVERYTHING))).items == ()


async def test_join_tokens_let_one_host_in(store: Store) -> None:
    token = JoinToken(id=JoinTokenId(new_id()), secret_sha256="s", expires_at=9.0, used_by="", created_at=1.0, revision=0)
    await store.apply([insert_join_token(token)])
    await store.apply([use_join_token(token.id, HostId("h"))])
    assert (await store.read(lambda c: get_join_token(c, token.id))).used_by == "h"
    await refused(store, Forbidden, "join_token_used", use_join_token(token.id, HostId("i")))
    await store.apply([delete_join_token(token.id)])
    assert (await store.read(lambda c: list_join_tokens(c, EVERYTHING))).items == ()


async def test_idempotency(store: Store) -> None:
    assert await store.read(lambda c: find_answer(c, "s", "k")) is None
    await store.apply([remember("s", "k", "digest", lambda revision: (202, f"revision {revision}"), 1.0)])
    found = await store.read(lambda c: find_answer(c, "s", "k"))
    assert found is not None
    assert (found.request_sha256, found.status, found.response) == ("digest", 202, "revision 1")
    await refused(store, Conflict, "idempotency_in_use", remember("s", "k", "digest", lambda revision: (202, f"revision {revision}"), 1.0))
    await store.apply([remember("another", "k", "digest", lambda revision: (202, f"revision {revision}"), 1.0)])


async def test_events(store: Store) -> None:
    events = [
        Event(id=EventId(new_id()), project_id=project, kind=kind, target_kind="vm", target_id=target, target_name="n", detail="d", data={"a": "b"}, at=at)
        for project, kind, target, at in (
            (MINE, "vm.state", "v1", 1.0),
            (MINE, "vm.create", "v2", 2.0),
            (OTHER, "vm.state", "v3", 3.0),
            (None, "host.join", "h", 4.0),
        )
    ]
    await store.apply([insert_event(event) for event in events])
    assert await store.read(lambda c: get_event(c, events[0].id, MINE)) == replace(events[0], revision=1)

    async def ids(project: Any, **where: str) -> list[str]:
        return [event.target_id for event in (await store.read(lambda c: list_events(c, project, EVERYTHING, **where))).items]

    assert await ids(None) == ["v1", "v2", "v3", "h"]
    assert await ids(MINE) == ["v1", "v2"]
    assert await ids(None, kind="vm.state") == ["v1", "v3"]
    assert await ids(None, target_id="v2") == ["v2"]
    assert set(await store.read(lambda c: events_by_id(c, [events[1].id, "nobody"]))) == {events[1].id}
    with pytest.raises(NotFound):
        await store.read(lambda c: get_event(c, events[2].id, MINE))


async def test_operations_move_on_and_end_once(store: Store) -> None:
    await put_projects(store)
    operation = an_operation()
    await store.apply([insert_operation(operation)])
    running = replace(operation, state=OperationState.RUNNING, progress=0.5, stage="s")
    await store.apply([move_operation(running)])
    assert [one.id for one in await store.read(lambda c: open_operations(c, "vm", operation.target_id))] == [operation.id]
    await refused(store, Conflict, "operation_ended", move_operation(replace(operation, state=OperationState.QUEUED)))
    done = replace(running, state=OperationState.DONE, progress=1.0)
    await store.apply([move_operation(done)])
    for state in OperationState:
        await refused(store, Conflict, "operation_ended", move_operation(replace(done, state=state)))
    await refused(store, NotFound, "operation_not_found", move_operation(an_operation()))
    assert await store.read(lambda c: get_operation(c, operation.id, MINE)) == replace(done, revision=4)
    assert await store.read(open_operations) == []
    assert (await store.read(lambda c: list_operations(c, MINE, EVERYTHING, target_id=operation.target_id))).items[0].state is OperationState.DONE
    assert (await store.read(lambda c: list_operations(c, MINE, EVERYTHING, open_only=True))).items == ()
    with pytest.raises(NotFound):
        await store.read(lambda c: get_operation(c, operation.id, OTHER))


async def test_images_are_seen_by_their_project_and_public_ones_by_all(store: Store) -> None:
    await put_projects(store)
    mine, theirs, public = an_image("a"), an_image("a", project_id=OTHER), an_image("p", project_id=OTHER, public=True, created_at=2.0)
    for image in (mine, theirs, public):
        await put_image(store, image)
    assert (await store.read(lambda c: get_image(c, "a", MINE))).id == mine.id
    assert [image.name for image in (await store.read(lambda c: list_images(c, MINE, EVERYTHING))).items] == ["a", "p"]
    await refused(store, Conflict, "name_taken", insert_image(an_image("a")))
    hidden = an_image("p", created_at=3.0)
    await put_image(store, hidden)
    assert (await store.read(lambda c: get_image(c, "p", MINE))).id == hidden.id, "its own hides a public one"
    told = await store.read(lambda c: changes_since(c, 0, ("image",), MINE))
    assert {change.id for change in told} == {mine.id, public.id, hidden.id}
    await store.apply([update_image(replace(public, spec=replace(public.spec, public=False)), was_public=True)])
    with pytest.raises(NotFound):
        await store.read(lambda c: get_image(c, public.id, MINE))
    assert [change.id for change in await store.read(lambda c: changes_since(c, told[-1].revision, ("image",), MINE))] == [public.id]


async def test_the_status_and_the_end_of_an_image(store: Store) -> None:
    await put_projects(store)
    image = await put_image(store, an_image(state=ImageState.WAITING))
    status = ImageStatus(state=ImageState.RECEIVING, received_bytes=7)
    revision = await store.apply([set_image_status(image, status)])
    found = await store.read(lambda c: get_image(c, image.id, MINE))
    assert (found.status, found.revision) == (status, revision)
    assert [one.id for one in await store.read(unsettled_images)] == [image.id]
    vm = a_vm(image)
    await store.apply([insert_vm(vm, False, 1.0)], [expect_image_kept(image.id)])
    await refused(store, Conflict, "image_in_use", mark_image_deleted(image), expects=[expect_image_unused(image)])
    await store.apply([update_vm(replace(vm, deleted=True), False)])
    await store.apply([mark_image_deleted(image)], [expect_image_unused(image)])
    await refused(store, NotFound, "image_not_found", insert_vm(a_vm(image, "late"), False, 1.0), expects=[expect_image_kept(image.id)])
    with pytest.raises(NotFound):
        await store.read(lambda c: get_image(c, image.id, MINE))
    assert [one.deleted for one in await store.read(unsettled_images)] == [True]
    await refused(store, Conflict, "in_use", remove_image(image.id, MINE))
    await store.apply([remove_vm(vm.id, MINE)])
    await store.apply([remove_image(image.id, MINE)])
    assert await store.read(all_image_ids) == frozenset()
    await refused(store, NotFound, "image_not_found", set_image_status(image, status))
    await put_image(store, an_image(image.name))


async def test_networks(store: Store) -> None:
    await put_projects(store)
    shared = await put_network(store, a_network("n", cidr="10.1.0.0/24"))
    own = a_network("n", project_id=MINE, cidr="10.2.0.0/24", created_at=2.0)
    await store.apply([insert_network(own)], [expect_network_fits(own)])
    assert (await store.read(lambda c: get_network(c, "n", MINE))).id == own.id, "its own hides a shared one"
    assert (await store.read(lambda c: get_network(c, "n", OTHER))).id == shared.id
    with pytest.raises(NotFound):
        await store.read(lambda c: get_network(c, own.id, OTHER))
    assert len((await store.read(lambda c: list_networks(c, MINE, EVERYTHING))).items) == 2
    twice, overlapping = a_network("n", cidr="10.9.0.0/24"), a_network("m", cidr="10.2.0.128/25")
    await refused(store, Conflict, "name_taken", insert_network(twice), expects=[expect_network_fits(twice)])
    await refused(store, Conflict, "cidr_overlaps", insert_network(overlapping), expects=[expect_network_fits(overlapping)])
    await refused(store, Conflict, "name_taken", insert_network(replace(own, id=a_network().id)))
    image = await put_image(store)
    await store.apply([insert_vm(a_vm(image, nics=(a_nic(own, 1, "10.2.0.5"), a_nic(shared, 2, "10.1.0.5"))), False, 1.0)])
    assert await store.read(lambda c: taken_addresses(c, own.id)) == {"10.2.0.5"}
    await refused(store, Conflict, "address_taken", insert_vm(a_vm(image, "b", nics=(a_nic(own, 3, "10.2.0.5"),)), False, 1.0))
    await refused(store, Conflict, "mac_taken", insert_vm(a_vm(image, "b", nics=(a_nic(own, 1, "10.2.0.6"),)), False, 1.0))
    await store.apply([insert_vm(a_vm(image, "b", nics=(a_nic(own, 4), a_nic(own, 5))), False, 1.0)])
    await refused(store, Conflict, "in_use", delete_network(own))


async def test_hosts(store: Store) -> None:
    host_id = HostId(new_id())
    await store.apply([insert_host(host_id, "h1", 1.0)])
    host = await store.read(lambda c: get_host(c, "h1"))
    assert (effective_host(host).value, host.capacity, host.load) == ("joining", {}, None)
    assert await store.read(lambda c: reports_of(c, host_id)) is None
    await refused(store, Conflict, "name_taken", insert_host(HostId(new_id()), "h1", 1.0))
    other = await put_host(store, "h2", at=5.0)
    await store.apply([put_host_load(other, 7, load(vms_running=3), 6.0)])
    await refused(store, Stale, "report_old", expects=[expect_report(other, "i1", 7)])
    await refused(store, Stale, "report_old", expects=[expect_report(other, "i0", 8)])
    await refused(store, Stale, "report_old", expects=[expect_report(host_id, "i1", 8)])
    await store.apply([], [expect_report(other, "i1", 8)])
    seen = await store.read(lambda c: get_host(c, other))
    assert seen.load is not None
    assert (seen.load.vms_running, seen.last_seen_at, effective_host(seen).value) == (3, 6.0, "ready")
    await store.apply([update_host(other, cordoned=True, drain_id=None, labels={"rack": "1"})])
    assert effective_host(await store.read(lambda c: get_host(c, other))).value == "cordoned"
    await store.apply([set_host_connected(other, False, None)])
    seen = await store.read(lambda c: get_host(c, other))
    assert (effective_host(seen).value, seen.labels, seen.last_seen_at) == ("unreachable", {"rack": "1"}, 6.0)
    assert [one.name for one in (await store.read(lambda c: list_hosts(c, EVERYTHING))).items] == ["h1", "h2"]
    await store.apply([delete_host(other)])
    with pytest.raises(NotFound):
        await store.read(lambda c: get_host(c, other))


async def test_a_vm_and_what_is_seen_of_it(store: Store) -> None:
    await put_projects(store)
    image, network, host_id = await put_image(store), await put_network(store), await put_host(store)
    vm = a_vm(image, nics=(a_nic(network, 1, "10.80.0.5"),))
    await store.apply([insert_vm(vm, True, 1.0)])
    found = await store.read(lambda c: get_vm(c, "hello", MINE))
    assert (found.desired, found.protected, effective(found)) == (vm, True, EffectiveState.PENDING)
    with pytest.raises(NotFound):
        await store.read(lambda c: get_vm(c, vm.id, OTHER))
    await refused(store, Conflict, "name_taken", insert_vm(a_vm(image), False, 1.0))
    assert [one.desired.id for one in await store.read(unplaced_vms)] == [vm.id]
    await store.apply([claim_host(vm, host_id, {"vcpu": 1}, {"vcpu": 1}, 2.0)])
    assert await store.read(unplaced_vms) == []
    assert await store.read(lambda c: host_of(c, vm.id)) == host_id
    await refused(store, Stale, "observation_old", put_observed(host_id, MINE, an_observation(vm, epoch=0)))
    await refused(store, Stale, "observation_old", put_observed(HostId("another"), MINE, an_observation(vm, epoch=1)))
    observed = an_observation(vm, VmState.RUNNING, epoch=1)
    await store.apply([put_observed(host_id, MINE, observed)])
    found = (await store.read(lambda c: vms_of_host(c, host_id)))[0]
    assert (found.observed, effective(found), found.host_heard) == (observed, EffectiveState.RUNNING, True)
    await store.apply([set_host_connected(host_id, False, None)])
    assert effective(await store.read(lambda c: get_vm(c, vm.id, None))) is EffectiveState.UNKNOWN
    await refused(store, Conflict, "in_use", delete_host(host_id))

    desired = await store.read(lambda c: desired_of(c, host_id))
    assert (desired.vms, desired.revision) == ((replace(vm, epoch=1),), store.revision)
    assert [(one.id, one.reservations) for one in desired.networks] == [
        (network.id, (Reservation(mac="52:54:00:00:00:01", address="10.80.0.5", name="hello"),))
    ]
    assert [one.id for one in desired.images] == [image.id]

    revision = (await store.read(lambda c: get_vm(c, vm.id, None))).revision
    await refused(store, Stale, "revision_mismatch", expects=[expect_vm(vm.id, revision - 1)])
    await store.apply([update_vm(replace(vm, epoch=1, deleted=True), False)], [expect_vm(vm.id, revision)])
    with pytest.raises(NotFound):
        await store.read(lambda c: get_vm(c, "hello", MINE))
    assert effective(await store.read(lambda c: get_vm(c, vm.id, MINE))) is EffectiveState.DELETING
    assert (await store.read(lambda c: desired_of(c, host_id))).images == (), "it is not needed to delete the VM"
    successor = a_vm(image)
    await store.apply([insert_vm(successor, False, 3.0)])
    operation = an_operation(target_id=vm.id, verb="vm.delete")
    await store.apply([insert_operation(operation)])
    operations, vms = await store.read(open_with_vms)
    assert ([one.id for one in operations], set(vms)) == ([operation.id], {vm.id})
    await store.apply([remove_vm(vm.id, MINE)])
    assert set(await store.read(lambda c: vms_by_id(c, [vm.id, successor.id]))) == {successor.id}
    assert [one.desired.id for one in (await store.read(lambda c: list_vms(c, MINE, EVERYTHING, name="hello"))).items] == [successor.id]
    assert [one.desired.id for one in await store.read(lambda c: all_vms(c, OTHER))] == []
    assert await store.read(lambda c: taken_addresses(c, network.id)) == frozenset()
    await refused(store, NotFound, "vm_not_found", expects=[expect_vm(vm.id, revision)])
    await store.apply([delete_host(host_id)])
