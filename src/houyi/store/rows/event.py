"""Events are only ever added."""

from houyi.model.event import Event
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Act, Mutation, Row, Rows


def insert_event(event: Event) -> Mutation:
    values = {
        "project_id": event.project_id,
        "kind": event.kind,
        "target_kind": event.target_kind,
        "target_id": event.target_id,
        "doc": dump(event),
        "created_at": event.at,
    }
    row = Row(Act.INSERT, tables.event, (event.id,), lambda revision: {**values, "revision": revision})
    return Mutation("event", event.id, event.project_id, Rows([row]))
