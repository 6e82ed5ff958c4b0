"""Leases: one server at a time runs a reconciler. A lease only saves work; correctness never depends on it, since clocks differ."""

from sqlalchemy import Connection, select

from houyi.model.errors import Conflict
from houyi.store import tables
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def take_lease(name: str, holder: str, now: float, seconds: float) -> Mutation:
    """Take or renew. :raise Conflict: `lease_held` by another whose lease has not run out."""

    def write(connection: Connection, _revision: int) -> None:
        row = connection.execute(select(tables.lease).where(tables.lease.c.name == name)).first()
        if row is not None and row.holder != holder and row.expires_at > now:
            raise Conflict("lease_held", f"{row.holder} holds {name}")
        put(connection, tables.lease, {"name": name}, {"holder": holder, "expires_at": now + seconds})

    return Mutation("lease", name, None, write, quiet=True)
