"""What came of a pool's question: written by the reconciler only."""

from sqlalchemy import Connection, select

from houyi.model.ids import PoolId
from houyi.model.pool import PoolStatus
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def put_pool_status(pool_id: PoolId, status: PoolStatus) -> Mutation:
    """Of a pool that was deleted meanwhile: nothing."""

    def write(connection: Connection, revision: int) -> None:
        if connection.execute(select(tables.pool.c.id).where(tables.pool.c.id == pool_id)).first() is not None:
            put(connection, tables.pool_status, {"pool_id": pool_id}, {"doc": dump(status), "revision": revision})

    return Mutation("pool", pool_id, None, write)
