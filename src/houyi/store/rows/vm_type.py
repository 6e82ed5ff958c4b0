"""Mutations of VM types."""

from sqlalchemy import Connection

from houyi.model.ids import VmTypeId
from houyi.model.vm_type import VmType
from houyi.store import tables
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop, put


def put_vm_type(vm_type: VmType) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        values = {
            "name": vm_type.name,
            "vcpus": vm_type.vcpus,
            "memory_mib": vm_type.memory_mib,
            "disk_gib": vm_type.disk_gib,
            "profile": vm_type.profile,
            "created_at": vm_type.created_at,
            "revision": revision,
        }
        put(connection, tables.vm_type, {"id": vm_type.id}, values)

    return Mutation("vm_type", vm_type.id, None, write)


def delete_vm_type(vm_type_id: VmTypeId) -> Mutation:
    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.vm_type, {"id": vm_type_id})

    return Mutation("vm_type", vm_type_id, None, write, Op.DELETE)
