"""Events as JSON."""

from pydantic import Field

from houyi.model.event import Event as ModelEvent
from houyi.wire.v1.shape import Id, Page, Revision, Shown, Time, rfc3339


class Event(Shown):
    id: Id
    project_id: Id | None = Field(description="Null: of the platform itself; administrators see these.")
    kind: str = Field(description="'vm.create', 'vm.state', 'host.join' ...")
    target_kind: str
    target_id: str
    target_name: str
    detail: str
    data: dict[str, str]
    actor: str = Field(description="'token:ID', 'host:ID' or 'platform'.")
    request_id: str
    at: Time
    revision: Revision


class EventPage(Page[Event]):
    """A page of events."""


def show_event(event: ModelEvent) -> Event:
    return Event(
        id=event.id,
        project_id=event.project_id,
        kind=event.kind,
        target_kind=event.target_kind,
        target_id=event.target_id,
        target_name=event.target_name,
        detail=event.detail,
        data=dict(event.data),
        actor=event.actor,
        request_id=event.request_id,
        at=rfc3339(event.at),
        revision=event.revision,
    )
