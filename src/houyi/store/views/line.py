"""Reads of ways between hosts: what was asked and said of each, and what is asked of a host now."""

from sqlalchemy import Connection, or_, select

from houyi.model.ids import HostId, MigrationId
from houyi.model.line import LineAnswer, LineAsk, LineAsked
from houyi.store import tables
from houyi.store.docs import load


def list_lines(connection: Connection, host_id: HostId | None = None) -> tuple[LineAsked, ...]:
    """Every pair that was asked; or those of a host that are asked now."""
    line, answer = tables.line, tables.line_answer
    query, said = select(line), select(answer)
    if host_id is not None:
        query = query.where(line.c.open, or_(line.c.source_id == host_id, line.c.destination_id == host_id))
        said = said.where(or_(answer.c.source_id == host_id, answer.c.destination_id == host_id))
    answers: dict[tuple[str, str], dict[HostId, LineAnswer]] = {}
    for row in connection.execute(said):
        answers.setdefault((row.source_id, row.destination_id), {})[HostId(row.host_id)] = load(row.doc, LineAnswer)
    return tuple(
        LineAsked(
            id=MigrationId(row.id),
            source=HostId(row.source_id),
            destination=HostId(row.destination_id),
            asked_at=row.asked_at,
            open=row.open,
            answers=answers.get((row.source_id, row.destination_id), {}),
        )
        for row in connection.execute(query.order_by(line.c.source_id, line.c.destination_id))
    )


def asks_of(connection: Connection, host_id: HostId) -> tuple[LineAsk, ...]:
    """What the host is to do for it now."""
    found = []
    for asked in list_lines(connection, host_id):
        source = asked.source == host_id
        door = asked.answers.get(asked.destination)
        there = door if door is not None and door.id == asked.id else LineAnswer(id=asked.id)
        peer = asked.destination if source else asked.source
        found.append(LineAsk(id=asked.id, peer=peer, source=source, address=there.address if source else "", port=there.port if source else 0))
    return tuple(found)
