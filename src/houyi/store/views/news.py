"""What watchers are told: the objects of one kind that changed since a revision, each as it is now, in one consistent snapshot."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from houyi.model.errors import NotFound
from houyi.model.event import Event
from houyi.model.ids import ProjectId
from houyi.model.project import Project
from houyi.model.vm import Vm
from houyi.store.changes import Change, changes_since
from houyi.store.mutation import Op
from houyi.store.store import newest_revision
from houyi.store.views.event import events_by_id
from houyi.store.views.names import Named, names_of
from houyi.store.views.project import get_project
from houyi.store.views.vm import vms_by_id

T = TypeVar("T")

Find = Callable[[Connection, Sequence[str], ProjectId | None], Mapping[str, T]]
"""Those of the ids that exist and that the project may see (None: every project)."""


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    revision: int
    """Of its change."""
    id: str
    object: T | None
    """None: it is no longer there, or no longer visible."""


@dataclass(frozen=True, slots=True)
class News(Generic[T]):
    items: tuple[Item[T], ...]
    """In the order of their changes; an object once, at its last change."""
    revision: int
    """Go on from here: everything up to it has been told."""


def news(connection: Connection, since: int, kind: str, scope: ProjectId | None, find: Find[T], *, shared: bool = False) -> News[T]:
    """:param shared: whether objects of no project, or of another's, may be visible to a project; else a change that shows nothing of it is not told.

    :raise Stale: `watch_too_old`.
    """
    last: dict[str, Change] = {change.id: change for change in changes_since(connection, since, [kind], scope)}
    if not last:
        return News((), max(since, newest_revision(connection)))
    changes = sorted(last.values(), key=lambda change: change.revision)
    found = find(connection, [change.id for change in changes if change.op is Op.PUT], scope)
    items = [Item(change.revision, change.id, found.get(change.id)) for change in changes]
    told = [item for item, change in zip(items, changes, strict=True) if item.object is not None or shared or scope is None or change.project_id == scope]
    return News(tuple(told), changes[-1].revision)


def one_by_one(get: Callable[[Connection, str, ProjectId | None], T]) -> Find[T]:
    """A Find for kinds that change seldom, from the view of one of them."""

    def find(connection: Connection, ids: Sequence[str], scope: ProjectId | None) -> dict[str, T]:
        found = {}
        for one in ids:
            try:
                found[one] = get(connection, one, scope)
            except NotFound:
                continue
        return found

    return find


def for_everybody(get: Callable[[Connection, str], T]) -> Find[T]:
    """The same for kinds that belong to no project."""
    return one_by_one(lambda connection, one, _scope: get(connection, one))


def find_vms(connection: Connection, ids: Sequence[str], scope: ProjectId | None) -> dict[str, Vm]:
    return {one: vm for one, vm in vms_by_id(connection, ids).items() if scope in (None, vm.desired.project_id)}


def find_projects(connection: Connection, ids: Sequence[str], scope: ProjectId | None) -> Mapping[str, Project]:
    return for_everybody(get_project)(connection, [one for one in ids if scope in (None, one)], scope)


def find_events(connection: Connection, ids: Sequence[str], scope: ProjectId | None) -> dict[str, Event]:
    return {one: event for one, event in events_by_id(connection, ids).items() if scope in (None, event.project_id)}


def news_with_names(
    connection: Connection,
    since: int,
    kind: str,
    scope: ProjectId | None,
    find: Find[T],
    ids: Callable[[T], Iterable[str | None]] | None = None,
    *,
    shared: bool = False,
) -> Named[News[T]]:
    """`news`, with the names of what the objects refer to."""
    found = news(connection, since, kind, scope, find, shared=shared)
    if ids is None:
        return Named(found, {})
    return Named(found, names_of(connection, (one for item in found.items if item.object is not None for one in ids(item.object))))
