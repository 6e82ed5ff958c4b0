"""Reads of VM types."""

from typing import Any

from sqlalchemy import Connection, Row

from houyi.model.errors import NotFound
from houyi.model.ids import VmTypeId
from houyi.model.vm_type import VmType
from houyi.store import tables
from houyi.store.views.page import Ask, Page
from houyi.store.views.plain import Plain


def _vm_type(row: Row[Any]) -> VmType:
    return VmType(
        id=VmTypeId(row.id),
        name=row.name,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=row.disk_gib,
        profile=row.profile or "",
        created_at=row.created_at,
        revision=row.revision,
    )


_VM_TYPES = Plain(tables.vm_type, _vm_type, lambda reference: NotFound("vm_type_not_found", f"there is no VM type {reference!r}: see `houyi vm-type list`"))


def get_vm_type(connection: Connection, reference: str) -> VmType:
    """:raise NotFound: `vm_type_not_found`."""
    return _VM_TYPES.get(connection, reference)


def list_vm_types(connection: Connection, ask: Ask) -> Page[VmType]:
    return _VM_TYPES.list(connection, ask)
