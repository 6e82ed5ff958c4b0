"""The creation of a VM: everything that it refers to is found and checked, addresses are given, and then it is written at once."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from houyi.control.addresses import check_address, free_address, new_mac
from houyi.control.control import Context, Control, new_event, new_operation, remembered
from houyi.control.placements import look
from houyi.control.ssh_public_key import parse_public_key
from houyi.model.errors import Conflict, Invalid, NoCapacity, NotFound
from houyi.model.ids import VmId
from houyi.model.image import Image, ImageState
from houyi.model.names import check_name
from houyi.model.network import Network
from houyi.model.operation import Operation
from houyi.model.vm import LOCAL, DesiredNic, DesiredVm, Firmware, MigrationPolicy, NicSpec, Power, Remedy, RestartPolicy, Trouble, Vm, VmSpec
from houyi.model.vm_type import VmType
from houyi.planning.placement.choose import Choice
from houyi.planning.placement.filters import amounts
from houyi.planning.spec import check_spec
from houyi.store.journal import insert_operation
from houyi.store.rows.image import expect_image_kept
from houyi.store.rows.vm import insert_vm
from houyi.store.views.image import get_image
from houyi.store.views.network import get_network, taken_addresses
from houyi.store.views.placement_group import get_placement_group
from houyi.store.views.pool import get_pool
from houyi.store.views.ssh_key import get_ssh_key
from houyi.store.views.vm import get_vm
from houyi.store.views.vm_type import get_vm_type

GIB = 1 << 30
ADDRESS_ATTEMPTS = 64
"""Each attempt that finds its address taken means that another creation got one, so that this bounds how many creations at once may be ahead of one in a small network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NicAsk:
    network: str
    """Name or id."""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmAsk:
    """A VM as a person asks for it. Either a type, or vCPUs and memory; what is given beside a type replaces its value."""

    name: str
    image: str
    vm_type: str = ""
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    nics: Sequence[NicAsk] | None = None
    """None: one NIC on the network `default`."""
    ssh_keys: Sequence[str] = ()
    """Names or ids of keys of the project, or public keys themselves."""
    user_data: str = ""
    restart_policy: RestartPolicy = RestartPolicy.ON_FAILURE
    firmware: Firmware = Firmware.BIOS
    video: bool = True
    cpu_model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    migration_policy: MigrationPolicy = MigrationPolicy.AUTO
    downtime_ms_max: int = 300
    postcopy: bool = False
    host_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that its host must have."""
    storage: str = LOCAL
    placement_group: str = ""
    """Name or id; '': none."""
    pool: str = ""
    """Name or id of the pool that its hosts must be of; '': any host."""
    cpu_features: Sequence[str] = ()
    profile: str = ""
    """Tuning profile; '': the type's, else none of its own."""
    on_trouble: Mapping[Trouble, Remedy] = field(default_factory=dict)
    knobs: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    start: bool = True


@dataclass(frozen=True, slots=True)
class _Resolved:
    spec: VmSpec
    networks: Sequence[Network]
    asked_addresses: Sequence[str]


async def create_vm(control: Control, ctx: Context, ask: VmAsk) -> tuple[Vm, Operation]:
    """Write the wish for a new VM.

    :raise Invalid: a value is out of range, `disk_too_small`, `address_outside_network` ... :raise NotFound: image, type, network, key, placement group or pool.
    :raise Conflict: `name_taken`, `address_taken`, `image_not_ready`. :raise NoCapacity: no host can take it now.
    """
    resolved, choice = await _checked(control, ctx, ask)
    if choice.host_id is None:
        raise NoCapacity(
            "no_capacity",
            f"no host can take this VM: {choice.no_capacity}",
            asked=amounts(resolved.spec),
            left=dict(choice.left),
            removed=dict(choice.removed),
        )
    for attempt in range(ADDRESS_ATTEMPTS):
        nics = await _nics(control, resolved, attempt)
        desired = DesiredVm(
            id=VmId(control.ids.new()),
            project_id=ctx.project_id,
            name=ask.name,
            epoch=0,
            generation=1,
            spec=resolved.spec,
            power=Power.RUNNING if ask.start else Power.STOPPED,
            nics=nics,
        )
        operation = new_operation(control, ctx, "vm.create", desired.id, project_id=ctx.project_id, generation=1)
        now = control.clock.now()
        mutations = [
            insert_vm(desired, ask.protected, now),
            insert_operation(operation),
            new_event(control, ctx, "vm.create", desired.id, desired.name, "creation asked", project_id=ctx.project_id),
            *remembered(control, ctx, operation),
        ]
        try:
            revision = await control.store.apply(mutations, [expect_image_kept(resolved.spec.image_id)])
        except Conflict as taken:
            ours = taken.code == "mac_taken" or (taken.code == "address_taken" and not all(resolved.asked_addresses))
            if not ours or attempt == ADDRESS_ATTEMPTS - 1:
                raise
            continue
        control.hints.poke("placement")
        vm = Vm(desired=desired, protected=ask.protected, host_id=None, observed=None, host_heard=False, created_at=now, revision=revision)
        return vm, replace(operation, revision=revision)
    raise AssertionError("unreachable")


async def rehearse_vm(control: Control, ctx: Context, ask: VmAsk) -> tuple[VmSpec, Choice]:
    """All checks of `create_vm` and where the VM would go, without writing anything."""
    resolved, choice = await _checked(control, ctx, ask)
    await _nics(control, resolved, 0)
    return resolved.spec, choice


async def _checked(control: Control, ctx: Context, ask: VmAsk) -> tuple[_Resolved, Choice]:
    check_name(ask.name)
    with suppress(NotFound):
        await control.store.read(lambda c: get_vm(c, ask.name, ctx.project_id))
        raise Conflict("name_taken", f"there is a VM {ask.name!r} already: choose another name")
    resolved = await _resolve(control, ctx, ask)
    check_spec(resolved.spec)
    ground = await look(control, [resolved.spec])
    return resolved, ground.choose(ground.request(resolved.spec))


async def _resolve(control: Control, ctx: Context, ask: VmAsk) -> _Resolved:
    image = await control.store.read(lambda c: get_image(c, ask.image, ctx.project_id))
    vm_type = await control.store.read(lambda c: get_vm_type(c, ask.vm_type)) if ask.vm_type else None
    vcpus, memory_mib, disk_gib = _size(ask, vm_type, image)
    asks = [NicAsk(network="default")] if ask.nics is None else ask.nics
    networks = [await control.store.read(partial(get_network, reference=one.network, project_id=ctx.project_id)) for one in asks]
    for one, network in zip(asks, networks, strict=True):
        if one.address:
            check_address(one.address, network)
    keys = []
    for key in ask.ssh_keys:
        if " " in key.strip():
            keys.append(parse_public_key(key).text)
        else:
            keys.append((await control.store.read(partial(get_ssh_key, reference=key, project_id=ctx.project_id))).public_key)
    group = None
    if ask.placement_group:
        group = (await control.store.read(lambda c: get_placement_group(c, ask.placement_group, ctx.project_id))).id
    pool = (await control.store.read(lambda c: get_pool(c, ask.pool))).id if ask.pool else None
    spec = VmSpec(
        image_id=image.id,
        vcpus=vcpus,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
        nics=tuple(NicSpec(network_id=network.id, address=one.address) for one, network in zip(asks, networks, strict=True)),
        ssh_keys=tuple(keys),
        user_data=ask.user_data,
        restart_policy=ask.restart_policy,
        firmware=ask.firmware,
        video=ask.video,
        cpu_model=ask.cpu_model,
        labels=dict(ask.labels),
        migration_policy=ask.migration_policy,
        downtime_ms_max=ask.downtime_ms_max,
        postcopy=ask.postcopy,
        host_labels=dict(ask.host_labels),
        storage=ask.storage,
        placement_group_id=group,
        pool_id=pool,
        cpu_features=tuple(sorted(set(ask.cpu_features))),
        profile=ask.profile or (vm_type.profile if vm_type is not None else ""),
        on_trouble=dict(ask.on_trouble),
        knobs=dict(ask.knobs),
    )
    return _Resolved(spec, networks, [one.address for one in asks])


def _size(ask: VmAsk, vm_type: VmType | None, image: Image) -> tuple[int, int, int]:
    if image.status.state is not ImageState.AVAILABLE:
        raise Conflict("image_not_ready", f"image {image.name!r} is {image.status.state.value}: wait until it is available", state=image.status.state.value)
    vcpus, memory_mib, disk_gib = ask.vcpus, ask.memory_mib, ask.disk_gib
    if vm_type is not None:
        vcpus = vm_type.vcpus if vcpus is None else vcpus
        memory_mib = vm_type.memory_mib if memory_mib is None else memory_mib
        disk_gib = vm_type.disk_gib if disk_gib is None else disk_gib
    if vcpus is None or memory_mib is None:
        raise Invalid("size_missing", "say how large the VM shall be: a type, or vcpus and memory_mib")
    needed_gib = max(1, -(-image.status.virtual_size_bytes // GIB), image.spec.min_disk_gib)
    if disk_gib is None:
        disk_gib = needed_gib
    if disk_gib < needed_gib:
        raise Invalid("disk_too_small", f"image {image.name!r} needs a disk of {needed_gib} GiB, not {disk_gib}", needed_gib=needed_gib)
    if memory_mib < image.spec.min_memory_mib:
        raise Invalid("memory_too_small", f"image {image.name!r} needs {image.spec.min_memory_mib} MiB of memory, not {memory_mib}")
    return vcpus, memory_mib, disk_gib


async def _nics(control: Control, resolved: _Resolved, attempt: int) -> tuple[DesiredNic, ...]:
    """Addresses as asked, else free ones; after a lost race at random, so that many creations at once do not run into each other again."""
    nics: list[DesiredNic] = []
    for network, asked in zip(resolved.networks, resolved.asked_addresses, strict=True):
        taken = set(await control.store.read(partial(taken_addresses, network_id=network.id)))
        taken |= {nic.address for nic in nics if nic.network_id == network.id}
        if asked and asked in taken:
            raise Conflict("address_taken", f"{asked} is taken on network {network.name!r}: choose another, or leave the choice to the platform")
        start_at = control.ids.uniform(0.0, 1.0) if attempt else 0.0
        nics.append(DesiredNic(network_id=network.id, mac=new_mac(control.ids), address=asked or free_address(network, taken, start_at)))
    return tuple(nics)
