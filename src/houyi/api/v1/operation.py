"""/v1/operations: things that take time."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Filter, PlainId
from houyi.api.lists import LOOK_SECONDS, AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.operation import cancel_operation
from houyi.model.operation import ENDED, OperationState
from houyi.model.operation import Operation as ModelOperation
from houyi.store.views.names import Named
from houyi.store.views.news import news_with_names, one_by_one
from houyi.store.views.operation import get_operation, list_operations
from houyi.wire.v1.operation import Operation, OperationPage, show_operation
from houyi.wire.v1.shape import Nothing

router = APIRouter(prefix="/v1/operations", tags=["operations"])

WAIT_SECONDS_MAX = 60.0
"""Below the time that proxies usually wait for an answer."""


def _show(operation: ModelOperation, _names: dict[str, str]) -> Operation:
    return show_operation(operation)


@router.get("", response_model=OperationPage, responses=STREAM)
async def list_all(
    desk: AtDesk,
    asking: Asking,
    ask: AskedPage,
    watching: AskedWatch,
    target: Annotated[str | None, Query(description="Id of what it acts on.", max_length=255, pattern=r"^[^\x00]*$")] = None,
    state: OperationState | None = None,
    only_open: Annotated[bool, Query(alias="open", description="Only what has not ended.")] = False,
    verb: Filter = None,
) -> Response:
    """List operations, oldest first, or watch them."""

    def keep(operation: Operation) -> bool:
        fits = target in (None, operation.target_id) and state in (None, operation.state) and verb in (None, operation.verb)
        return fits and not (only_open and operation.state in ENDED)

    filtered = None if (target, state, verb) == (None, None, None) and not only_open else keep
    if watching.on:
        find = one_by_one(get_operation)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "operation", scope, find), _show, filtered)
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: Named(list_operations(c, scope, page, target_id=target, open_only=only_open), {}), _show, filtered)


@router.get("/{operation}", response_model=Operation)
async def show(
    desk: AtDesk,
    asking: Asking,
    operation: PlainId,
    wait: Annotated[float, Query(ge=0, le=WAIT_SECONDS_MAX, allow_inf_nan=False, description="Seconds to wait for its end; then it is shown as it is.")] = 0.0,
) -> Response:
    """Show an operation, when it has ended or after `wait` seconds."""
    clock, store = desk.control.clock, desk.control.store
    until = clock.monotonic() + wait
    while True:
        revision = store.revision
        found = await store.read(lambda c: get_operation(c, operation, asking.scope))
        left = until - clock.monotonic()
        if found.state in ENDED or left <= 0 or desk.closing.is_set():
            return shown(show_operation(found))
        await store.wait(revision, min(left, LOOK_SECONDS))


@router.post("/{operation}/cancel", response_model=Operation)
async def cancel(desk: AtDesk, asking: Asking, done: DoneOnce, operation: PlainId, body: Annotated[Nothing | None, Body()] = None) -> Response:
    """Cancel an operation, where it says that it can be."""
    found = await desk.control.store.read(lambda c: get_operation(c, operation, asking.scope))
    return await done.answer(lambda ctx: cancel_operation(desk.control, ctx, found.id), show_operation, status=200, location="/v1/operations/")
