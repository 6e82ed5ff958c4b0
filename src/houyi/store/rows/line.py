"""Mutations of ways between hosts: what an end says (intake). What is asked of them is written by store/line_asks.py."""

from sqlalchemy import Connection, select

from houyi.model.ids import HostId
from houyi.model.line import LineAnswer, LineAsked
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation
from houyi.store.rows.write import put


def put_answer(asked: LineAsked, host_id: HostId, answer: LineAnswer) -> Mutation:
    """Of a pair that is gone with a host: nothing."""
    pair = {"source_id": asked.source, "destination_id": asked.destination}

    def write(connection: Connection, revision: int) -> None:
        line = tables.line
        if connection.execute(select(line.c.id).where(line.c.source_id == asked.source, line.c.destination_id == asked.destination)).first() is not None:
            put(connection, tables.line_answer, {**pair, "host_id": host_id}, {"doc": dump(answer), "revision": revision})

    return Mutation("line_answer", f"{asked.id}/{host_id}", None, write)
