"""Which way between hosts is to be measured: written by the reconciler only."""

from sqlalchemy import Connection, select

from houyi.model.line import LineAsked
from houyi.store import tables
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def put_ask(asked: LineAsked) -> Mutation:
    """Ask, or (not `open`) ask no more. Of hosts that are gone: nothing."""
    pair = {"source_id": asked.source, "destination_id": asked.destination}

    def write(connection: Connection, revision: int) -> None:
        there = connection.execute(select(tables.host.c.id).where(tables.host.c.id.in_(list(pair.values())))).all()
        if len(there) == len(pair):
            put(connection, tables.line, pair, {"id": asked.id, "asked_at": asked.asked_at, "open": asked.open, "revision": revision})

    return Mutation("line", f"{asked.source}/{asked.destination}", None, write)
