"""Reads of VM types."""

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import VmTypeId
from houyi.model.names import is_id
from houyi.model.vm_type import VmType
from houyi.store import tables
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _vm_type(row: Row[tuple[object, ...]]) -> VmType:
    return VmType(
        id=VmTypeId(row.id),
        name=row.name,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=row.disk_gib,
        created_at=row.created_at,
        revision=row.revision,
    )


def get_vm_type(connection: Connection, reference: str) -> VmType:
    """:raise NotFound: `vm_type_not_found`."""
    table = tables.vm_type
    row = connection.execute(select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)).first()
    if row is None:
        raise NotFound("vm_type_not_found", f"there is no VM type {reference!r}: see `houyi vm-type list`")
    return _vm_type(row)


def list_vm_types(connection: Connection, ask: Ask) -> Page[VmType]:
    rows = connection.execute(paged(select(tables.vm_type), tables.vm_type, ask))
    return cut([(row.created_at, row.id, _vm_type(row)) for row in rows], newest_revision(connection), ask)
