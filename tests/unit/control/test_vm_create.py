"""Creation of VMs: everything is checked before anything is written, addresses are unique under any race, and a refusal leaves nothing."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from desk import Desk
from houyi.control.commands.image import delete_image
from houyi.control.commands.ssh_key import create_ssh_key
from houyi.control.commands.vm import delete_vm
from houyi.control.commands.vm_create import NicAsk, VmAsk, create_vm, rehearse_vm
from houyi.control.control import Context, Idempotency
from houyi.control.reconcilers.placement import place_vms
from houyi.model.errors import Conflict, HouyiError, Invalid, NoCapacity, NotFound
from houyi.model.ids import VmTypeId
from houyi.model.image import ImageState
from houyi.model.network import Network, NetworkKind, NetworkSpec
from houyi.model.operation import Operation, OperationState
from houyi.model.token import Role
from houyi.model.vm import DesiredNic, Firmware, Power, RestartPolicy, Vm
from houyi.model.vm_type import VmType
from houyi.store.rows.host import update_host
from houyi.store.rows.vm_type import put_vm_type
from houyi.store.views.event import list_events
from houyi.store.views.image import get_image
from houyi.store.views.operation import get_operation, list_operations
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import all_vms, get_vm
from made import MINE, OTHER, a_network, an_image, new_id, put_image, put_network


def ask(name: str = "hello", **values: Any) -> VmAsk:
    return VmAsk(**{"name": name, "image": "tiny", "vcpus": 1, "memory_mib": 128} | values)


def public_key(comment: str = "") -> str:
    return f"{Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}".strip()


async def test_what_is_written(desk: Desk) -> None:
    key = public_key("me@here")
    await create_ssh_key(desk.control, desk.me, "laptop", key)
    raw = public_key()
    asked = ask(
        ssh_keys=("laptop", f"  {raw}\n"),
        user_data="#cloud-config",
        labels={"a": "b"},
        protected=True,
        start=False,
        restart_policy=RestartPolicy.NEVER,
        video=False,
    )
    vm, operation = await create_vm(desk.control, desk.me, asked)
    stored = await desk.store.read(lambda c: get_vm(c, "hello", MINE))
    assert stored == vm
    desired = stored.desired
    assert (desired.epoch, desired.generation, desired.power, stored.protected, stored.host_id) == (0, 1, Power.STOPPED, True, None)
    assert (desired.spec.image_id, desired.spec.vcpus, desired.spec.memory_mib, desired.spec.disk_gib) == (desk.image.id, 1, 128, 1)
    assert (desired.spec.ssh_keys, desired.spec.user_data, dict(desired.spec.labels)) == ((key, raw), "#cloud-config", {"a": "b"})
    assert (desired.spec.restart_policy, desired.spec.video) == (RestartPolicy.NEVER, False)
    (nic,) = desired.nics
    assert nic == DesiredNic(network_id=desk.network.id, mac=nic.mac, address="10.80.0.2")
    assert nic.mac.startswith("52:54:00:")
    assert await desk.store.read(lambda c: get_operation(c, operation.id, MINE)) == Operation(
        id=operation.id, project_id=MINE, verb="vm.create", target_kind="vm", target_id=desired.id, target_generation=1, created_at=1000.0, request_id="r1", revision=vm.revision
    )  # fmt: skip
    events = (await desk.store.read(lambda c: list_events(c, MINE, EVERYTHING, target_id=desired.id))).items
    assert [(event.kind, event.actor, event.request_id, event.target_name, event.revision) for event in events] == [
        ("vm.create", "token:me", "r1", "hello", vm.revision)
    ]


async def test_sizes(desk: Desk) -> None:
    small = VmType(id=VmTypeId(new_id()), name="c1.small", vcpus=2, memory_mib=256, disk_gib=4, created_at=1.0, revision=0)
    await desk.store.apply([put_vm_type(small)])

    async def size(name: str, **values: Any) -> tuple[int, int, int]:
        vm, _ = await create_vm(desk.control, desk.me, VmAsk(name=name, image="tiny", **values))
        return vm.desired.spec.vcpus, vm.desired.spec.memory_mib, vm.desired.spec.disk_gib

    assert await size("a", vm_type="c1.small") == (2, 256, 4)
    assert await size("b", vm_type=small.id, vcpus=1, disk_gib=9) == (1, 256, 9)
    assert await size("c", vcpus=3, memory_mib=512) == (3, 512, 1)


@pytest.mark.parametrize(
    ("kind", "code", "values"),
    [
        (Invalid, "name_invalid", {"name": "Hello"}),
        (Invalid, "name_invalid", {"name": "11111111-1111-4111-8111-111111111111"}),
        (Conflict, "name_taken", {"name": "taken"}),
        (NotFound, "image_not_found", {"image": "nosuch"}),
        (NotFound, "image_not_found", {"image": "theirs"}),
        (Conflict, "image_not_ready", {"image": "waiting"}),
        (NotFound, "vm_type_not_found", {"vm_type": "c9.huge"}),
        (NotFound, "network_not_found", {"nics": [NicAsk(network="nosuch")]}),
        (NotFound, "network_not_found", {"nics": [NicAsk(network="theirs")]}),
        (NotFound, "ssh_key_not_found", {"ssh_keys": ["nosuch"]}),
        (NotFound, "ssh_key_not_found", {"ssh_keys": [""]}),
        (Invalid, "ssh_key_invalid", {"ssh_keys": ["ssh-ed25519 AAAA"]}),
        (Invalid, "size_missing", {"vcpus": None}),
        (Invalid, "size_missing", {"memory_mib": None}),
        (Invalid, "vcpus_invalid", {"vcpus": 0}),
        (Invalid, "memory_invalid", {"memory_mib": 1}),
        (Invalid, "disk_too_small", {"image": "large", "disk_gib": 6}),
        (Invalid, "memory_too_small", {"image": "large", "memory_mib": 255}),
        (Invalid, "address_invalid", {"nics": [NicAsk(network="default", address="10.80.0.")]}),
        (Invalid, "address_outside_network", {"nics": [NicAsk(network="default", address="10.81.0.5")]}),
        (Invalid, "address_reserved", {"nics": [NicAsk(network="default", address="10.80.0.0")]}),
        (Invalid, "address_reserved", {"nics": [NicAsk(network="default", address="10.80.0.1")]}),
        (Invalid, "address_reserved", {"nics": [NicAsk(network="default", address="10.80.0.255")]}),
        (Invalid, "address_unmanaged", {"nics": [NicAsk(network="bridge", address="10.80.0.5")]}),
        (Conflict, "address_taken", {"nics": [NicAsk(network="default", address="10.80.0.2")]}),
        (Conflict, "address_taken", {"nics": [NicAsk(network="default", address="10.80.0.9"), NicAsk(network="default", address="10.80.0.9")]}),
        (Invalid, "nics_invalid", {"nics": [NicAsk(network="default")] * 9}),
        (NoCapacity, "no_capacity", {"vcpus": 5}),
        (NoCapacity, "no_capacity", {"memory_mib": 7680}),
        (NoCapacity, "no_capacity", {"disk_gib": 101}),
        (NoCapacity, "no_capacity", {"firmware": Firmware.UEFI}),
    ],
)
async def test_a_refusal_leaves_nothing(desk: Desk, kind: type[HouyiError], code: str, values: dict[str, Any]) -> None:
    await create_vm(desk.control, desk.me, ask("taken"))
    await put_image(desk.store, an_image("theirs", project_id=OTHER))
    await put_image(desk.store, an_image("waiting", state=ImageState.WAITING))
    await put_image(desk.store, an_image("large", min_memory_mib=256, min_disk_gib=7))
    await put_network(desk.store, a_network("theirs", project_id=OTHER, cidr="10.99.0.0/24"))
    bridge = a_network("bridge")
    await put_network(
        desk.store, Network(**{name: getattr(bridge, name) for name in Network.__slots__} | {"spec": NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0")})
    )
    revision = desk.store.revision
    with pytest.raises(kind) as caught:
        await create_vm(desk.control, desk.me, ask(**values))
    assert caught.value.code == code
    if kind is NoCapacity:
        assert (await rehearse_vm(desk.control, desk.me, ask(**values)))[1].host_id is None
    else:
        with pytest.raises(kind):
            await rehearse_vm(desk.control, desk.me, ask(**values))
    assert desk.store.revision == revision
    assert len(await desk.store.read(all_vms)) == 1


async def test_no_capacity_says_what_was_asked_and_what_is_left(desk: Desk) -> None:
    with pytest.raises(NoCapacity) as caught:
        await create_vm(desk.control, desk.me, ask(memory_mib=9000))
    assert caught.value.extra["asked"] == {"vcpu": 1, "memory_mib": 9064, "disk_gib": 1}
    assert caught.value.extra["left"] == {"vcpu": 4, "memory_mib": 7680, "disk_gib": 100}
    assert caught.value.extra["removed"]["room"] == 1
    await desk.store.apply([update_host(desk.host_id, cordoned=True, drain_id=None, labels={})])
    with pytest.raises(NoCapacity, match="not ready"):
        await create_vm(desk.control, desk.me, ask())


async def test_what_waits_for_its_host_counts_as_well_once_it_is_placed(desk: Desk) -> None:
    for number in range(4):
        await create_vm(desk.control, desk.me, ask(f"vm{number}"))
    await place_vms(desk.control)
    with pytest.raises(NoCapacity):
        await create_vm(desk.control, desk.me, ask("more"))


async def test_a_rehearsal_writes_nothing(desk: Desk) -> None:
    revision = desk.store.revision
    spec, choice = await rehearse_vm(desk.control, desk.me, ask())
    assert (spec.vcpus, choice.host_id) == (1, desk.host_id)
    assert desk.store.revision == revision
    assert await desk.store.read(all_vms) == []


async def test_addresses(desk: Desk) -> None:
    await put_network(desk.store, a_network("second", project_id=MINE, cidr="10.90.0.0/30"))

    async def made(name: str, *nics: NicAsk) -> list[str]:
        vm, _ = await create_vm(desk.control, desk.me, ask(name, nics=nics))
        assert len({nic.mac for nic in vm.desired.nics}) == len(nics)
        return [nic.address for nic in vm.desired.nics]

    assert await made("a") == []
    assert await made("b", NicAsk(network="default", address="10.80.0.3")) == ["10.80.0.3"]
    assert await made("c", NicAsk(network="default"), NicAsk(network="default"), NicAsk(network="second")) == ["10.80.0.2", "10.80.0.4", "10.90.0.2"]
    with pytest.raises(Conflict) as caught:
        await made("d", NicAsk(network="second"))
    assert caught.value.code == "network_full"
    await delete_vm(desk.control, desk.me, "c")
    await place_vms(desk.control)  # forgets what never had a host
    assert await made("e", NicAsk(network="second")) == ["10.90.0.2"], "an address comes back with the end of its VM"


async def test_creations_at_once_fill_a_network_to_the_last_address(both: Desk) -> None:
    await put_network(both.store, a_network("small", project_id=MINE, cidr="10.90.0.0/28"))
    nics = [NicAsk(network="small")]
    got = await asyncio.gather(*(create_vm(both.control, both.me, ask(f"vm{number}", nics=nics)) for number in range(16)), return_exceptions=True)
    made = [one[0] for one in got if isinstance(one, tuple)]
    assert sorted(int(vm.desired.nics[0].address.rpartition(".")[2]) for vm in made) == list(range(2, 15))
    lost = [one for one in got if not isinstance(one, tuple)]
    assert [one.code for one in lost if isinstance(one, Conflict)] == ["network_full"] * 3
    stored = {vm.desired.id for vm in await both.store.read(all_vms)}
    assert stored == {vm.desired.id for vm in made}


async def test_of_creations_at_once_one_gets_the_name_and_one_the_address(both: Desk) -> None:
    got = await asyncio.gather(*(create_vm(both.control, both.me, ask("same")) for _ in range(5)), return_exceptions=True)
    assert sorted(one.code if isinstance(one, HouyiError) else "made" for one in got) == ["made"] + ["name_taken"] * 4  # type: ignore[union-attr]
    nics = [NicAsk(network="default", address="10.80.0.77")]
    got = await asyncio.gather(*(create_vm(both.control, both.me, ask(f"vm{number}", nics=nics)) for number in range(5)), return_exceptions=True)
    assert sorted(one.code if isinstance(one, HouyiError) else "made" for one in got) == ["address_taken"] * 4 + ["made"]  # type: ignore[union-attr]


async def test_no_vm_is_made_from_an_image_that_goes(both: Desk) -> None:
    got = await asyncio.gather(
        *(create_vm(both.control, both.me, ask(f"vm{number}")) for number in range(3)),
        delete_image(both.control, both.me, "tiny"),
        *(create_vm(both.control, both.me, ask(f"late{number}")) for number in range(3)),
        return_exceptions=True,
    )
    vms = await both.store.read(all_vms)
    if isinstance(got[3], Operation):
        assert vms == []
        assert all(isinstance(one, NotFound) for one in got if not isinstance(one, Operation))
    else:
        assert isinstance(got[3], Conflict)
        assert got[3].code == "image_in_use"
        await both.store.read(lambda c: get_image(c, "tiny", MINE))


async def test_a_key_is_answered_once(both: Desk) -> None:
    def render(result: Any) -> tuple[int, str]:
        return 202, result.id

    again = Context(actor="token:me", project_id=MINE, role=Role.MEMBER, idempotency=Idempotency("MINE", "key", "digest", render))
    got = await asyncio.gather(*(create_vm(both.control, again, ask(f"vm{number}")) for number in range(3)), return_exceptions=True)
    assert sorted(one.code if isinstance(one, HouyiError) else "made" for one in got) == ["idempotency_in_use"] * 2 + ["made"]  # type: ignore[union-attr]
    assert len(await both.store.read(all_vms)) == 1
    assert len((await both.store.read(lambda c: list_operations(c, MINE, EVERYTHING))).items) == 1


async def test_a_name_is_free_again_when_its_vm_is_being_deleted(desk: Desk) -> None:
    first, _ = await create_vm(desk.control, desk.me, ask())
    await place_vms(desk.control)
    await delete_vm(desk.control, desk.me, "hello")
    second, operation = await create_vm(desk.control, desk.me, ask())
    assert isinstance(second, Vm)
    assert operation.state is OperationState.QUEUED
    assert second.desired.id != first.desired.id
    assert second.desired.nics[0].address != first.desired.nics[0].address, "the old one's address is still in use"
