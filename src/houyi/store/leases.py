"""Leases: one server at a time runs a reconciler. A lease only saves work; correctness never depends on it, since clocks differ."""

from collections.abc import Mapping
from typing import Any

from houyi.model.errors import Conflict
from houyi.store import tables
from houyi.store.mutation import Act, Look, Mutation, Row, Rows


def take_lease(name: str, holder: str, now: float, seconds: float) -> Mutation:
    """Take or renew. :raise Conflict: `lease_held` by another whose lease has not run out."""

    def check(row: Mapping[str, Any] | None) -> None:
        if row is not None and row["holder"] != holder and row["expires_at"] > now:
            raise Conflict("lease_held", f"{row['holder']} holds {name}")

    row = Row(Act.PUT, tables.lease, (name,), lambda _: {"holder": holder, "expires_at": now + seconds})
    return Mutation("lease", name, None, Rows([row], [Look(tables.lease, (name,), ("holder", "expires_at"), check)]), quiet=True)
