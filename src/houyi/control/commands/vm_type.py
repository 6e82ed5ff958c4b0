"""What may be asked of VM types; administrators only, which the API checks."""

from dataclasses import replace

from houyi.control.control import Context, Control, again, as_expected, new_event, remembered
from houyi.model.ids import ImageId, VmTypeId
from houyi.model.names import check_name
from houyi.model.vm import VmSpec
from houyi.model.vm_type import VmType
from houyi.planning.spec import check_spec
from houyi.store.mutation import expect
from houyi.store.rows.vm_type import delete_vm_type as delete_vm_type_row
from houyi.store.rows.vm_type import put_vm_type
from houyi.store.views.vm_type import get_vm_type


async def create_vm_type(control: Control, ctx: Context, name: str, vcpus: int, memory_mib: int, disk_gib: int, profile: str = "") -> VmType:
    """:raise Invalid: `vm_type_name_invalid`, `profile_unknown` or a size out of range. :raise Conflict: `name_taken`."""
    vm_type = VmType(
        id=VmTypeId(control.ids.new()),
        name=_check_name(name),
        vcpus=vcpus,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
        profile=profile,
        created_at=control.clock.now(),
        revision=control.store.revision,
    )
    _check(vm_type)
    await control.store.apply(
        [put_vm_type(vm_type), new_event(control, ctx, "vm_type.create", vm_type.id, name, "created", project_id=None), *remembered(control, ctx, vm_type)]
    )
    return await control.store.read(lambda c: get_vm_type(c, vm_type.id))


async def update_vm_type(
    control: Control,
    ctx: Context,
    reference: str,
    *,
    name: str | None = None,
    vcpus: int | None = None,
    memory_mib: int | None = None,
    disk_gib: int | None = None,
    profile: str | None = None,
    expected: int | None = None,
) -> VmType:
    """VMs that were made from it keep their size. :raise Stale: `revision_mismatch`: not at `expected`."""

    async def attempt() -> VmType:
        old = await control.store.read(lambda c: get_vm_type(c, reference))
        new = replace(
            old,
            name=old.name if name is None else _check_name(name),
            vcpus=old.vcpus if vcpus is None else vcpus,
            memory_mib=old.memory_mib if memory_mib is None else memory_mib,
            disk_gib=old.disk_gib if disk_gib is None else disk_gib,
            profile=old.profile if profile is None else profile,
        )
        _check(new)
        event = new_event(control, ctx, "vm_type.update", new.id, new.name, "changed", project_id=None)
        await control.store.apply([put_vm_type(new), event], [expect(lambda c: get_vm_type(c, old.id), old.revision if expected is None else expected)])
        return await control.store.read(lambda c: get_vm_type(c, new.id))

    return await again(attempt, codes=() if expected is not None else ("revision_mismatch",))


async def delete_vm_type(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    old = await control.store.read(lambda c: get_vm_type(c, reference))
    event = new_event(control, ctx, "vm_type.delete", old.id, old.name, "deleted", project_id=None)
    await control.store.apply([delete_vm_type_row(old.id), event], as_expected(lambda c: get_vm_type(c, old.id), expected))


def _check_name(name: str) -> str:
    """Labels joined by dots, as in 'c1.small'."""
    for part in name.split("."):
        check_name(part, "vm type name")
    return name


def _check(vm_type: VmType) -> None:
    check_spec(VmSpec(image_id=ImageId(""), vcpus=vm_type.vcpus, memory_mib=vm_type.memory_mib, disk_gib=vm_type.disk_gib, profile=vm_type.profile))
