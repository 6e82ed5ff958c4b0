"""/v1/events: what happened, in order, never altered."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Filter, PlainId
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.routes import STREAM
from houyi.model.event import Event as ModelEvent
from houyi.store.views.event import get_event, list_events
from houyi.store.views.names import Named
from houyi.store.views.news import find_events, news_with_names
from houyi.wire.v1.event import Event, EventPage, show_event

router = APIRouter(prefix="/v1/events", tags=["events"])


def _show(event: ModelEvent, _names: dict[str, str]) -> Event:
    return show_event(event)


@router.get("", response_model=EventPage, responses=STREAM)
async def list_all(
    desk: AtDesk,
    asking: Asking,
    ask: AskedPage,
    watching: AskedWatch,
    target: Annotated[str | None, Query(description="Id of what it happened to.", max_length=255, pattern=r"^[^\x00]*$")] = None,
    kind: Filter = None,
) -> Response:
    """List events, oldest first, or watch them."""

    def keep(event: Event) -> bool:
        return target in (None, event.target_id) and kind in (None, event.kind)

    filtered = None if target is None and kind is None else keep
    if watching.on:
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "event", scope, find_events), _show, filtered, lasting=True
        )
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: Named(list_events(c, scope, page, target_id=target, kind=kind), {}), _show, filtered)


@router.get("/{event}", response_model=Event)
async def show(desk: AtDesk, asking: Asking, event: PlainId) -> Response:
    """Show an event."""
    return shown(show_event(await desk.control.store.read(lambda c: get_event(c, event, asking.scope))))
