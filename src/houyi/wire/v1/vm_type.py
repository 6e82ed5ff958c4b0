"""VM types as JSON."""

from pydantic import Field

from houyi.model.vm_type import VmType as ModelVmType
from houyi.wire.v1.shape import Asked, Id, Int, Page, Revision, Shown, Text, Time, rfc3339


class VmTypeCreate(Asked):
    name: Text = Field(description="RFC 1123 labels joined by dots, such as c1.small.")
    vcpus: Int
    memory_mib: Int
    disk_gib: Int
    profile: Text = Field("", description="Tuning profile of VMs that are made from it and name none; empty: none.")


class VmTypeUpdate(Asked):
    """What to change; a field that is missing or null stays. VMs that were made from it keep their size."""

    name: Text | None = None
    vcpus: Int | None = None
    memory_mib: Int | None = None
    disk_gib: Int | None = None
    profile: Text | None = Field(None, description="Tuning profile of VMs that are made from it and name none; empty: none.")


class VmType(Shown):
    id: Id
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    profile: str
    created_at: Time
    revision: Revision


class VmTypePage(Page[VmType]):
    """A page of VM types."""


def show_vm_type(vm_type: ModelVmType) -> VmType:
    return VmType(
        id=vm_type.id,
        name=vm_type.name,
        vcpus=vm_type.vcpus,
        memory_mib=vm_type.memory_mib,
        disk_gib=vm_type.disk_gib,
        profile=vm_type.profile,
        created_at=rfc3339(vm_type.created_at),
        revision=vm_type.revision,
    )
