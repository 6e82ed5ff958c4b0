"""Events are only ever added."""

from sqlalchemy import Connection, insert

from houyi.model.event import Event
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Mutation


def insert_event(event: Event) -> Mutation:
    def write(connection: Connection, revision: int) -> None:
        connection.execute(
            insert(tables.event).values(
                id=event.id,
                project_id=event.project_id,
                kind=event.kind,
                target_kind=event.target_kind,
                target_id=event.target_id,
                doc=dump(event),
                created_at=event.at,
                revision=revision,
            )
        )

    return Mutation("event", event.id, event.project_id, write)
