"""Mutations of pools: who is in them (commands), and what their hosts answer (intake). What came of that is written by store/baselines.py."""

from sqlalchemy import Connection, insert, select

from houyi.model.errors import Conflict
from houyi.model.ids import HostId, PoolId
from houyi.model.pool import Pool, PoolAnswer
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation, Op
from houyi.store.rows.write import drop, put


def insert_pool(pool: Pool) -> Mutation:
    """:raise Conflict: `name_taken`."""

    def write(connection: Connection, revision: int) -> None:
        connection.execute(insert(tables.pool).values(id=pool.id, name=pool.name, created_at=pool.created_at, revision=revision))

    return Mutation("pool", pool.id, None, write)


def delete_pool(pool_id: PoolId) -> Mutation:
    """:raise Conflict: `in_use` while a host is in it, or a VM must be."""

    def write(connection: Connection, _revision: int) -> None:
        drop(connection, tables.pool_status, {"pool_id": pool_id})
        drop(connection, tables.pool, {"id": pool_id})

    return Mutation("pool", pool_id, None, write, Op.DELETE)


def move_host(host_id: HostId, pool_id: PoolId | None) -> Mutation:
    """Put a host into a pool, and out of the one it was in; None: into none.

    :raise Conflict: `pool_vms_here`: VMs that were made for another pool are there, or are on their way there; `in_use`: the pool is gone.
    """

    def write(connection: Connection, _revision: int) -> None:
        bound, claim, vm = tables.pool_vm, tables.claim, tables.vm
        query = select(vm.c.name).join(bound, bound.c.vm_id == vm.c.id).join(claim, claim.c.vm_id == vm.c.id).where(claim.c.host_id == host_id)
        names = sorted(set(connection.execute(query if pool_id is None else query.where(bound.c.pool_id != pool_id)).scalars()))
        if names:
            detail = f"VMs on the host were made for its pool ({', '.join(names[:8])}): move them to another host of the pool first"
            raise Conflict("pool_vms_here", detail)
        drop(connection, tables.pool_answer, {"host_id": host_id})
        if pool_id is None:
            drop(connection, tables.pool_host, {"host_id": host_id})
        else:
            put(connection, tables.pool_host, {"host_id": host_id}, {"pool_id": pool_id})

    return Mutation("host", host_id, None, write)


def put_answer(host_id: HostId, answer: PoolAnswer) -> Mutation:
    """What a host says; nobody watches it."""

    def write(connection: Connection, revision: int) -> None:
        put(connection, tables.pool_answer, {"host_id": host_id}, {"pool_id": answer.pool_id, "doc": dump(answer), "revision": revision})

    return Mutation("pool_answer", host_id, None, write, quiet=True)
