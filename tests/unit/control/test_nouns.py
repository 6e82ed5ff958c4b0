"""Commands of everything but VMs: who may, what is refused, and what is told."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from desk import Desk, HandClock
from houyi.base.config import Settings
from houyi.base.ids import RandomIds, digest
from houyi.control.commands.host import join_host, remove_host, update_host_desired
from houyi.control.commands.image import create_image, delete_image, update_image_desired
from houyi.control.commands.join_token import create_join_token, delete_join_token
from houyi.control.commands.migration import MigrationAsk, migrate_vm
from houyi.control.commands.network import create_network, delete_network
from houyi.control.commands.operation import cancel_operation
from houyi.control.commands.project import create_project, delete_project
from houyi.control.commands.ssh_key import create_ssh_key, delete_ssh_key
from houyi.control.commands.token import create_token, revoke_token
from houyi.control.commands.vm import delete_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.control.commands.vm_type import create_vm_type, delete_vm_type, update_vm_type
from houyi.control.control import ATTEMPTS, Control, again
from houyi.control.first_start import first_start, renew_admin_token
from houyi.control.reconcilers.operations import move_operations
from houyi.control.reconcilers.placement import place_vms
from houyi.control.ssh_public_key import parse_public_key
from houyi.control.workflows.migrate_vm import move_vms
from houyi.model.errors import Conflict, Forbidden, HouyiError, Invalid, NotFound, Problem, Stale
from houyi.model.image import ImageSpec, ImageState
from houyi.model.migration import MigrationState
from houyi.model.network import NetworkKind, NetworkSpec
from houyi.model.operation import OperationState
from houyi.model.token import Role
from houyi.model.vm_type import BUILT_IN_VM_TYPES
from houyi.store.claims import claimed_on
from houyi.store.rows.host import set_host_connected
from houyi.store.rows.vm import put_observed
from houyi.store.store import Store
from houyi.store.views.event import list_events
from houyi.store.views.host import get_host, list_hosts
from houyi.store.views.image import get_image
from houyi.store.views.join_token import get_join_token
from houyi.store.views.migration import get_migration
from houyi.store.views.network import get_network, list_networks
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.project import get_project
from houyi.store.views.ssh_key import get_ssh_key
from houyi.store.views.token import find_token
from houyi.store.views.vm import all_vms, get_vm
from houyi.store.views.vm_type import get_vm_type, list_vm_types
from made import MINE, OTHER, an_observation, an_operation, put_host
from stores import NewUrl

NAT = NetworkSpec(kind=NetworkKind.NAT, cidr="10.200.0.0/24")


async def refused(kind: type[HouyiError], code: str, doing: Awaitable[object]) -> HouyiError:
    with pytest.raises(kind) as caught:
        await doing
    assert caught.value.code == code
    return caught.value


async def told(desk: Desk) -> list[str]:
    return [event.kind for event in (await desk.store.read(lambda c: list_events(c, None, EVERYTHING))).items]


# Networks


@pytest.mark.parametrize(
    ("kind", "code", "spec"),
    [
        (Invalid, "cidr_invalid", replace(NAT, cidr="")),
        (Invalid, "cidr_invalid", replace(NAT, cidr="10.0.0.1/24")),
        (Invalid, "cidr_invalid", replace(NAT, cidr="10.0.0.0/8")),
        (Invalid, "cidr_invalid", replace(NAT, cidr="10.0.0.0/31")),
        (Invalid, "cidr_invalid", replace(NAT, cidr="fd00::/64")),
        (Invalid, "bridge_invalid", replace(NAT, bridge="br0")),
        (Invalid, "bridge_invalid", NetworkSpec(kind=NetworkKind.BRIDGE)),
        (Invalid, "bridge_invalid", NetworkSpec(kind=NetworkKind.BRIDGE, bridge="a name that is too long")),
        (Invalid, "bridge_invalid", NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0\n")),
        (Invalid, "gateway_invalid", replace(NAT, gateway="10.201.0.1")),
        (Invalid, "gateway_invalid", replace(NAT, gateway="gateway")),
        (Invalid, "dns_invalid", replace(NAT, dns=("9.9.9.9", "dns.example.org"))),
        (Invalid, "domain_invalid", replace(NAT, domain="-x")),
        (Invalid, "domain_invalid", replace(NAT, domain="x\n")),
        (Conflict, "cidr_overlaps", replace(NAT, cidr="10.80.0.128/25")),
        (Conflict, "cidr_overlaps", replace(NAT, cidr="10.80.0.0/16")),
    ],
)
async def test_a_bad_network_is_refused(desk: Desk, kind: type[HouyiError], code: str, spec: NetworkSpec) -> None:
    revision = desk.store.revision
    await refused(kind, code, create_network(desk.control, desk.admin, "n", spec))
    assert desk.store.revision == revision


async def test_networks(desk: Desk) -> None:
    network = await create_network(desk.control, desk.me, "n", replace(NAT, gateway="10.200.0.9", dns=("9.9.9.9",)))
    assert (network.project_id, network.spec.gateway, network.revision) == (MINE, "10.200.0.9", desk.store.revision)
    await refused(Conflict, "name_taken", create_network(desk.control, desk.me, "n", replace(NAT, cidr="10.201.0.0/24")))
    await refused(Forbidden, "network_needs_admin", create_network(desk.control, desk.me, "s", replace(NAT, cidr="10.201.0.0/24"), shared=True))
    await refused(Forbidden, "network_needs_admin", create_network(desk.control, desk.me, "b", NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0")))
    await refused(Conflict, "name_taken", create_network(desk.control, desk.admin, "default", replace(NAT, cidr="10.202.0.0/24"), shared=True))
    for name in ("b1", "b2"):  # two networks over one bridge, managed by nobody: no addresses to overlap
        await create_network(desk.control, desk.admin, name, NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0"), shared=True)
    await refused(NotFound, "network_not_found", delete_network(desk.control, desk.them, network.id))
    await refused(Forbidden, "not_yours", delete_network(desk.control, desk.me, "default"))
    await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await refused(Conflict, "network_in_use", delete_network(desk.control, desk.admin, "default"))
    await delete_network(desk.control, desk.me, "n")
    await refused(NotFound, "network_not_found", delete_network(desk.control, desk.me, "n"))
    assert (await told(desk)).count("network.delete") == 1


async def test_of_networks_made_at_once_no_two_overlap(both: Desk) -> None:
    asked = [create_network(both.control, both.me, f"n{number}", replace(NAT, cidr=f"10.200.0.0/{20 + number}")) for number in range(5)]
    got = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(one).__name__ for one in got) == ["Conflict"] * 4 + ["Network"]
    asked = [create_network(both.control, both.admin, "same", replace(NAT, cidr=f"10.21{number}.0.0/24"), shared=True) for number in range(5)]
    got = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(one.code if isinstance(one, Conflict) else "made" for one in got) == ["made"] + ["name_taken"] * 4
    assert len((await both.store.read(lambda c: list_networks(c, None, EVERYTHING))).items) == 3


# Projects, tokens, keys, types


async def test_projects(desk: Desk) -> None:
    project = await create_project(desk.control, desk.admin, "fresh")
    await refused(Conflict, "name_taken", create_project(desk.control, desk.admin, "fresh"))
    await refused(Invalid, "name_invalid", create_project(desk.control, desk.admin, "No"))
    await refused(Conflict, "project_in_use", delete_project(desk.control, desk.admin, "mine"))
    await delete_project(desk.control, desk.admin, project.id)
    await refused(NotFound, "project_not_found", delete_project(desk.control, desk.admin, "fresh"))
    await create_project(desk.control, desk.admin, "default")
    await refused(Conflict, "project_built_in", delete_project(desk.control, desk.admin, "default"))


async def test_tokens(desk: Desk) -> None:
    token, text = await create_token(desk.control, desk.me, "ci", Role.MEMBER, lifetime_seconds=60.0)
    prefix, token_id, secret = text.split("_", 2)
    assert (prefix, token_id, token.project_id, token.expires_at) == ("hy", token.id, MINE, 1060.0)
    stored = await desk.store.read(lambda c: find_token(c, token.id))
    assert stored is not None
    assert stored.secret_sha256 == digest(secret)
    assert secret not in repr(stored)
    await refused(Conflict, "name_taken", create_token(desk.control, desk.me, "ci", Role.MEMBER))
    await refused(Forbidden, "role_too_high", create_token(desk.control, desk.me, "root", Role.ADMIN))
    for seconds in (-1.0, 1e12):
        await refused(Invalid, "lifetime_invalid", create_token(desk.control, desk.me, "x", Role.MEMBER, lifetime_seconds=seconds))
    admin, _ = await create_token(desk.control, desk.admin, "root", Role.ADMIN)
    assert admin.expires_at == 0.0
    await refused(Forbidden, "role_too_high", revoke_token(desk.control, desk.me, "root"))
    await refused(NotFound, "token_not_found", revoke_token(desk.control, desk.them, token.id))
    await revoke_token(desk.control, desk.me, "ci")
    assert await desk.store.read(lambda c: find_token(c, token.id)) is None
    events = (await desk.store.read(lambda c: list_events(c, None, EVERYTHING))).items
    assert not any(secret in repr(event) for event in events)


def public(key: Any, comment: str = "") -> str:
    return f"{key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}".strip()


@pytest.mark.parametrize(
    "make", [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_public_keys_of_every_kind(make: Callable[[], Any]) -> None:
    text = public(make(), "me@here two words")
    parsed = parse_public_key(f"\n{text}  \n")
    assert parsed.text == text
    blob = base64.b64decode(text.split()[1])
    assert parsed.fingerprint == "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 not/base64!",
        public(ed25519.Ed25519PrivateKey.generate()).replace("ssh-ed25519", "ssh-rsa"),
        public(ed25519.Ed25519PrivateKey.generate()) + "\nruncmd: [evil]",
        public(ed25519.Ed25519PrivateKey.generate(), "bell\x07"),
        public(ed25519.Ed25519PrivateKey.generate(), "x" * 20_000),
        'command="evil" ' + public(ed25519.Ed25519PrivateKey.generate()),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
    ],
    ids=range(11),  # keys are new each time, and workers have to agree on names
)
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_public_key(text)
    assert caught.value.code == "ssh_key_invalid"
    assert "BEGIN" not in caught.value.detail


async def test_ssh_keys(desk: Desk) -> None:
    text = public(ed25519.Ed25519PrivateKey.generate(), "me")
    key = await create_ssh_key(desk.control, desk.me, "laptop", text)
    assert (key.public_key, key.fingerprint[:7]) == (text, "SHA256:")
    await refused(Conflict, "name_taken", create_ssh_key(desk.control, desk.me, "laptop", text))
    await create_ssh_key(desk.control, desk.them, "laptop", text)
    await refused(NotFound, "ssh_key_not_found", delete_ssh_key(desk.control, desk.them, key.id))
    await delete_ssh_key(desk.control, desk.me, "laptop")
    assert (await desk.store.read(lambda c: get_ssh_key(c, "laptop", OTHER))).project_id == OTHER


async def test_vm_types(both: Desk) -> None:
    await create_vm_type(both.control, both.admin, "c1.small", 1, 512, 4)
    await refused(Conflict, "name_taken", create_vm_type(both.control, both.admin, "c1.small", 1, 512, 4))
    await refused(Invalid, "name_invalid", create_vm_type(both.control, both.admin, "c1..small", 1, 512, 4))
    await refused(Invalid, "memory_invalid", create_vm_type(both.control, both.admin, "x", 1, 1, 4))
    await asyncio.gather(
        update_vm_type(both.control, both.admin, "c1.small", vcpus=2),
        update_vm_type(both.control, both.admin, "c1.small", memory_mib=1024),
        update_vm_type(both.control, both.admin, "c1.small", disk_gib=8),
    )
    found = await both.store.read(lambda c: get_vm_type(c, "c1.small"))
    assert (found.vcpus, found.memory_mib, found.disk_gib) == (2, 1024, 8), "changes at once all count"
    await refused(Invalid, "vcpus_invalid", update_vm_type(both.control, both.admin, "c1.small", vcpus=0))
    await delete_vm_type(both.control, both.admin, "c1.small")
    await refused(NotFound, "vm_type_not_found", delete_vm_type(both.control, both.admin, "c1.small"))


# Images


async def test_images(desk: Desk) -> None:
    image, operation = await create_image(desk.control, desk.me, "mine", ImageSpec())
    assert (image.status.state, operation.verb, operation.cancellable, operation.state) == (ImageState.WAITING, "image.import", True, OperationState.QUEUED)
    for kind, code, name, spec in (
        (Invalid, "name_invalid", "No", ImageSpec()),
        (Conflict, "name_taken", "mine", ImageSpec()),
        (Invalid, "url_invalid", "x", ImageSpec(url="file:///etc/passwd")),
        (Invalid, "sha256_invalid", "x", ImageSpec(sha256="A" * 64)),
        (Invalid, "sha256_invalid", "x", ImageSpec(sha256="a" * 63)),
        (Forbidden, "public_needs_admin", "x", ImageSpec(public=True)),
    ):
        await refused(kind, code, create_image(desk.control, desk.me, name, spec))
    await refused(Forbidden, "public_needs_admin", update_image_desired(desk.control, desk.me, "mine", public=True))
    await refused(NotFound, "image_not_found", update_image_desired(desk.control, desk.them, image.id, os="x"))
    published = await update_image_desired(desk.control, desk.admin, "mine", public=True)
    assert (await desk.store.read(lambda c: get_image(c, "mine", OTHER))).spec.public
    await refused(Forbidden, "not_yours", delete_image(desk.control, desk.them, "mine"))
    await refused(Stale, "revision_mismatch", update_image_desired(desk.control, desk.me, "mine", os="debian", expected=published.revision - 1))
    changed = await update_image_desired(desk.control, desk.me, "mine", os="debian", name="renamed", expected=published.revision)
    assert (changed.name, changed.spec.os, changed.spec.public) == ("renamed", "debian", True)
    await refused(Stale, "revision_mismatch", delete_image(desk.control, desk.me, "renamed", expected=published.revision))
    assert (await delete_image(desk.control, desk.me, "renamed", expected=changed.revision)).state is OperationState.DONE
    await refused(NotFound, "image_not_found", delete_image(desk.control, desk.me, image.id))


async def test_an_image_that_vms_were_made_from_stays(desk: Desk) -> None:
    await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    assert (await refused(Conflict, "image_in_use", delete_image(desk.control, desk.me, "tiny"))).extra["users"] == 1


async def test_image_changes_at_once_all_count(both: Desk) -> None:
    await asyncio.gather(
        update_image_desired(both.control, both.admin, both.image.id, public=True),
        update_image_desired(both.control, both.admin, both.image.id, os="debian"),
        update_image_desired(both.control, both.admin, both.image.id, name="renamed"),
    )
    image = await both.store.read(lambda c: get_image(c, both.image.id, MINE))
    assert (image.name, image.spec.os, image.spec.public) == ("renamed", "debian", True)


# Operations


async def test_cancelling(desk: Desk) -> None:
    _, importing = await create_image(desk.control, desk.me, "mine", ImageSpec())
    _, creating = await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await refused(NotFound, "operation_not_found", cancel_operation(desk.control, desk.them, importing.id))
    await refused(NotFound, "operation_not_found", cancel_operation(desk.control, desk.me, an_operation().id))
    await refused(Conflict, "not_cancellable", cancel_operation(desk.control, desk.me, creating.id))
    cancelled = await cancel_operation(desk.control, desk.me, importing.id)
    assert (cancelled.state, cancelled.ended_at) == (OperationState.CANCELLED, 1000.0)
    await refused(Conflict, "operation_ended", cancel_operation(desk.control, desk.me, importing.id))


# Hosts and how they join


async def test_a_token_lets_one_host_in(both: Desk) -> None:
    token, text = await create_join_token(both.control, both.admin, "f" * 32, lifetime_seconds=60.0)
    prefix, token_id, fingerprint, secret = text.split("_", 3)
    assert (prefix, token_id, fingerprint) == ("hyj", token.id, "f" * 32)
    await refused(Forbidden, "join_token_invalid", join_host(both.control, token_id, "wrong", "new"))
    await refused(Forbidden, "join_token_invalid", join_host(both.control, both.image.id, secret, "new"))
    await refused(Conflict, "host_name_taken", join_host(both.control, token_id, secret, "h1"))
    await refused(Invalid, "name_invalid", join_host(both.control, token_id, secret, "New"))
    got = await asyncio.gather(*(join_host(both.control, token_id, secret, f"new{number}") for number in range(5)), return_exceptions=True)
    assert sorted(one.code if isinstance(one, HouyiError) else "joined" for one in got) == ["join_token_used"] * 4 + ["joined"]  # type: ignore[union-attr]
    (host_id,) = [one for one in got if isinstance(one, str)]
    assert (await both.store.read(lambda c: get_join_token(c, token.id))).used_by == host_id
    assert {host.id for host in (await both.store.read(lambda c: list_hosts(c, EVERYTHING))).items} == {both.host_id, host_id}


async def test_join_tokens_end(desk: Desk) -> None:
    token, text = await create_join_token(desk.control, desk.admin, "f" * 32, lifetime_seconds=60.0)
    desk.clock.at += 60.0
    await refused(Forbidden, "join_token_invalid", join_host(desk.control, token.id, text.split("_", 3)[3], "new"))
    for seconds in (0.0, 31 * 86400.0):
        await refused(Invalid, "lifetime_invalid", create_join_token(desk.control, desk.admin, "f" * 32, lifetime_seconds=seconds))
    revoked, text = await create_join_token(desk.control, desk.admin, "f" * 32)
    await delete_join_token(desk.control, desk.admin, revoked.id)
    await refused(Forbidden, "join_token_invalid", join_host(desk.control, revoked.id, text.split("_", 3)[3], "new"))
    await refused(NotFound, "join_token_not_found", delete_join_token(desk.control, desk.admin, revoked.id))


async def test_hosts(both: Desk) -> None:
    await refused(Invalid, "labels_invalid", update_host_desired(both.control, both.admin, "h1", labels={"": "x"}))
    await asyncio.gather(
        update_host_desired(both.control, both.admin, "h1", labels={"rack": "1"}), update_host_desired(both.control, both.admin, "h1", cordoned=True)
    )
    host = await both.store.read(lambda c: get_host(c, "h1"))
    assert (host.cordoned, host.labels) == (True, {"rack": "1"}), "changes at once all count"
    await update_host_desired(both.control, both.admin, "h1", cordoned=False)
    await create_vm(both.control, both.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(both.control)
    await refused(Conflict, "host_has_vms", remove_host(both.control, both.admin, "h1"))
    await refused(NotFound, "host_not_found", remove_host(both.control, both.admin, "h2"))


async def test_a_lost_host_takes_only_what_was_to_be_deleted_with_it(both: Desk) -> None:
    for name in ("kept", "given-up"):
        await create_vm(both.control, both.me, VmAsk(name=name, image="tiny", vcpus=1, memory_mib=128))
    await place_vms(both.control)
    await refused(Conflict, "host_not_lost", remove_host(both.control, both.admin, "h1", lost=True))
    await both.store.apply([set_host_connected(both.host_id, False, None)])
    deletion = await delete_vm(both.control, both.me, "given-up")
    await refused(Conflict, "host_has_vms", remove_host(both.control, both.admin, "h1", lost=True))
    assert {vm.desired.name for vm in await both.store.read(all_vms)} == {"kept", "given-up"}, "a refusal does nothing"
    await delete_vm(both.control, both.me, "kept")
    await refused(Conflict, "host_has_vms", remove_host(both.control, both.admin, "h1"))
    await remove_host(both.control, both.admin, "h1", lost=True)
    await refused(NotFound, "host_not_found", remove_host(both.control, both.admin, "h1", lost=True))
    assert list(await both.store.read(all_vms)) == []
    told = (await both.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=deletion.target_id))).items
    assert [one.detail for one in told if one.kind == "vm.deleted"] == [
        "its host h1 was removed as lost: whatever is left of the VM on that machine was not removed"
    ]
    await move_operations(both.control)
    assert (await both.store.read(lambda c: get_operation(c, deletion.id, None))).state is OperationState.DONE


async def test_a_move_that_waited_for_a_lost_host_ends(desk: Desk) -> None:
    vm, _ = await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    placed = await desk.store.read(lambda c: get_vm(c, vm.desired.id, None))
    await desk.store.apply([put_observed(desk.host_id, MINE, an_observation(placed.desired, accelerator="qemu"))])
    other = await put_host(desk.store, "h2", at=desk.clock.now())
    migration, operation = await migrate_vm(desk.control, desk.me, "hello", MigrationAsk())
    await desk.store.apply([set_host_connected(desk.host_id, False, None)])
    await delete_vm(desk.control, desk.me, "hello")
    await remove_host(desk.control, desk.admin, "h1", lost=True)
    await move_vms(desk.control)
    assert (await desk.store.read(lambda c: get_migration(c, migration.id, None))).course.state is MigrationState.FAILED
    assert (await desk.store.read(lambda c: get_operation(c, operation.id, None))).error == Problem(
        "host_removed", "a host of this move was removed from the platform before it began"
    )
    assert await desk.store.read(lambda c: claimed_on(c, other)) == {}


async def test_a_host_that_is_heard_of_in_that_moment_is_not_lost(desk: Desk) -> None:
    """It speaks between the look and the removal: the next look sees it."""
    await create_vm(desk.control, desk.me, VmAsk(name="hello", image="tiny", vcpus=1, memory_mib=128))
    await place_vms(desk.control)
    await delete_vm(desk.control, desk.me, "hello")
    await desk.store.apply([set_host_connected(desk.host_id, False, None)])
    heard = asyncio.create_task(desk.store.apply([set_host_connected(desk.host_id, True, desk.clock.now() + 1.0)]))
    await refused(Conflict, "host_not_lost", remove_host(desk.control, desk.admin, "h1", lost=True))
    await heard
    assert len(await desk.store.read(all_vms)) == 1


# The first start


async def test_a_first_start_that_cannot_keep_its_token_has_not_happened(store: Store, tmp_path: Any) -> None:
    """The token is kept before it counts: a server that dies in between must not leave a platform that lets nobody in."""
    control = Control(store, HandClock(), RandomIds(), Settings(state_dir=tmp_path))

    def full(_text: str | None) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        await first_start(control, "10.80.0.0/24", full)
    kept: list[str | None] = []
    text = await first_start(control, "10.80.0.0/24", kept.append)
    assert kept == [text]
    assert text is not None


async def test_the_first_start(store: Store, tmp_path: Any) -> None:
    control = Control(store, HandClock(), RandomIds(), Settings(state_dir=tmp_path))
    await refused(Invalid, "cidr_invalid", first_start(control, "10.80.0.1/24"))
    assert store.revision == 0
    got = await asyncio.gather(*(first_start(control, "10.80.0.0/24") for _ in range(3)))
    (text,) = [one for one in got if one is not None]
    token = await store.read(lambda c: find_token(c, text.split("_")[1]))
    project = await store.read(lambda c: get_project(c, "default"))
    assert token is not None
    assert (token.role, token.project_id, token.secret_sha256) == (Role.ADMIN, project.id, digest(text.split("_", 2)[2]))
    types = (await store.read(lambda c: list_vm_types(c, EVERYTHING))).items
    assert tuple((one.name, one.vcpus, one.memory_mib, one.disk_gib) for one in types) == BUILT_IN_VM_TYPES
    network = await store.read(lambda c: get_network(c, "default", project.id))
    assert (network.project_id, network.spec.cidr) == (None, "10.80.0.0/24")
    assert await first_start(control, "10.99.0.0/24") is None
    assert (await store.read(lambda c: get_network(c, "default", None))).spec.cidr == "10.80.0.0/24"
    second = await renew_admin_token(control, "admin-2")
    assert await store.read(lambda c: find_token(c, second.split("_")[1])) is not None


async def test_two_servers_start_first(new_url: NewUrl, tmp_path: Any) -> None:
    url = new_url("postgres")
    stores = [await Store.open(url), await Store.open(url)]
    got = await asyncio.gather(*(first_start(Control(one, HandClock(), RandomIds(), Settings(state_dir=tmp_path)), "10.80.0.0/24") for one in stores))
    assert sum(one is not None for one in got) == 1
    for one in stores:
        await one.close()


async def test_giving_up() -> None:
    """A command that always loses says so in the end, with the last refusal."""
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise Stale("revision_mismatch", f"try {tries}")

    with pytest.raises(Stale, match=f"try {ATTEMPTS}"):
        await again(attempt)
    tries = 0
    with pytest.raises(Stale, match="try 1"):
        await again(attempt, codes=())
