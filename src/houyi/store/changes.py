"""The change feed: which objects were written since a revision. Watchers read the objects themselves, so they see each at its newest."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, or_, select, update

from houyi.model.errors import Stale
from houyi.store import tables
from houyi.store.mutation import Mutation, Op


@dataclass(frozen=True, slots=True)
class Change:
    revision: int
    kind: str
    id: str
    project_id: str | None
    op: Op


def changes_since(connection: Connection, since: int, kinds: Sequence[str], project_id: str | None, limit: int = 1000) -> list[Change]:
    """Changes with a revision above `since`, oldest first; of one project and of shared objects, or of all projects when None.

    A page never ends within a revision, so that the last revision returned is a safe place to go on from.
    :raise Stale: `watch_too_old`: some of them have been forgotten; list again.
    """
    floor = connection.execute(select(tables.counter.c.value).where(tables.counter.c.name == "floor")).scalar_one()
    if since < floor:
        raise Stale("watch_too_old", f"changes up to revision {floor} have been forgotten: list again, then watch from the list's revision")
    table = tables.change
    query = select(table).where(table.c.revision > since, table.c.kind.in_(kinds)).order_by(table.c.revision, table.c.kind, table.c.id)
    if project_id is not None:
        query = query.where(or_(table.c.project_id == project_id, table.c.project_id.is_(None)))
    rows = [Change(r.revision, r.kind, r.id, r.project_id, Op(r.op)) for r in connection.execute(query.limit(limit + 1))]
    if len(rows) > limit:
        cut = rows[-1].revision
        whole = [change for change in rows if change.revision < cut]
        if whole:
            return whole
        return [Change(r.revision, r.kind, r.id, r.project_id, Op(r.op)) for r in connection.execute(query.where(table.c.revision == cut))]
    return rows


def forget_changes(keep: int) -> Mutation:
    """Drop all but the newest `keep` revisions of the feed."""

    def write(connection: Connection, _revision: int) -> None:
        newest = connection.execute(select(func.coalesce(func.max(tables.change.c.revision), 0))).scalar_one()
        floor = newest - keep
        if floor <= 0:
            return
        connection.execute(delete(tables.change).where(tables.change.c.revision <= floor))
        connection.execute(update(tables.counter).where(tables.counter.c.name == "floor", tables.counter.c.value < floor).values(value=floor))

    return Mutation("counter", "floor", None, write, quiet=True)


def forget_history(events_before: float, idempotency_before: float) -> Mutation:
    """Drop events, ended operations, moves and experiments, idempotency records and dead join tokens that are older."""

    def write(connection: Connection, _revision: int) -> None:
        connection.execute(delete(tables.event).where(tables.event.c.created_at < events_before))
        ended = select(tables.migration_course.c.migration_id).where(tables.migration_course.c.ended)
        old = select(tables.migration.c.id).where(tables.migration.c.id.in_(ended), tables.migration.c.created_at < events_before)
        for table in (tables.migration_observed, tables.migration_course):
            connection.execute(delete(table).where(table.c.migration_id.in_(old)))
        connection.execute(
            delete(tables.migration).where(
                tables.migration.c.created_at < events_before, tables.migration.c.id.not_in(select(tables.migration_course.c.migration_id))
            )
        )
        over = select(tables.experiment_course.c.experiment_id).where(tables.experiment_course.c.ended)
        tried = select(tables.experiment.c.id).where(tables.experiment.c.id.in_(over), tables.experiment.c.created_at < events_before)
        for table in (tables.experiment_trial, tables.experiment_course):
            connection.execute(delete(table).where(table.c.experiment_id.in_(tried)))
        connection.execute(
            delete(tables.experiment).where(
                tables.experiment.c.created_at < events_before, tables.experiment.c.id.not_in(select(tables.experiment_course.c.experiment_id))
            )
        )
        connection.execute(delete(tables.operation).where(tables.operation.c.ended, tables.operation.c.created_at < events_before))
        connection.execute(delete(tables.idempotency).where(tables.idempotency.c.created_at < idempotency_before))
        connection.execute(delete(tables.join_token).where(tables.join_token.c.expires_at < events_before))

    return Mutation("counter", "history", None, write, quiet=True)
