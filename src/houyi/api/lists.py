"""Lists in pages, and watches: the two halves of seeing everything without a gap."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Query
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from houyi.api.caller import Caller
from houyi.api.desk import Desk
from houyi.model.errors import HouyiError, Invalid
from houyi.model.ids import ProjectId
from houyi.store.reads import View
from houyi.store.views.names import Named
from houyi.store.views.news import News
from houyi.store.views.page import Ask, Page
from houyi.wire.v1.shape import Change

M = TypeVar("M")
S = TypeVar("S", bound=BaseModel)

LIMIT_MAX = 1000
BOOKMARK_SECONDS = 5.0
"""How often a quiet watch says where it is: a client that is cut off then goes on from there, and a dead connection is noticed."""
LOOK_SECONDS = 1.0
"""How often a quiet watch looks whether its token still counts and the server goes down."""
FILTERED_BATCH = 500
"""Rows read at once where a filter may leave out most of them: few enough that other requests have their turn in between."""
FILTERED_MAX = 50_000
"""Rows looked at for one answer (a second or two): where a filter fits hardly any of more, the page is short, but has a `next`."""
MEDIA_TYPE = "application/x-ndjson"

_token = msgspec.json.Decoder(tuple[Annotated[float, msgspec.Meta(ge=0, le=1e12)], Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f-]+$")]])


def _paging(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on a page.")] = 100,
    page_token: Annotated[str, Query(description="`next` of the page before.", max_length=512)] = "",
) -> Ask:
    """:raise Invalid: `page_token_invalid`."""
    if not page_token:
        return Ask(limit)
    try:
        text = base64.urlsafe_b64decode(page_token.encode("ascii") + b"=" * (-len(page_token) % 4))
        return Ask(limit, _token.decode(text))
    except (ValueError, msgspec.DecodeError):
        raise Invalid("page_token_invalid", "this page_token is not the `next` of any page: list from the start") from None


def _next_token(after: tuple[float, str] | None) -> str | None:
    return None if after is None else base64.urlsafe_b64encode(msgspec.json.encode(after)).decode().rstrip("=")


class Watching:
    """What the query says about watching."""

    def __init__(
        self,
        watch: Annotated[bool, Query(description="Stream changes as JSON lines (application/x-ndjson) instead of listing.")] = False,
        since: Annotated[int | None, Query(ge=0, le=1 << 53, description="With watch: the revision to go on from, such as a list's; by default now.")] = None,
    ) -> None:
        self.on = watch
        self.since = since


AskedPage = Annotated[Ask, Depends(_paging)]
AskedWatch = Annotated[Watching, Depends()]


async def listed(
    desk: Desk,
    ask: Ask,
    read: Callable[[Ask], View[Named[Page[M]]]],
    show: Callable[[M, dict[str, str]], S],
    keep: Callable[[S], bool] | None = None,
    *,
    most: int = FILTERED_MAX,
) -> Response:
    """A page as JSON: {"items", "revision", "next"}. It is full if there are enough that fit the filter, within `most` rows."""
    items: list[S] = []
    revision = None
    after, looked_at = ask.after, 0
    while True:
        found = await desk.control.store.read(read(Ask(max(ask.limit, FILTERED_BATCH) if keep else ask.limit, after)))
        page = found.what
        revision = page.revision if revision is None else revision
        after = page.next
        looked_at += len(page.items)
        for item, mark in zip(page.items, page.marks, strict=True):
            one = show(item, found.names)
            if keep is None or keep(one):
                items.append(one)
            if len(items) == ask.limit:
                after = mark if mark != page.marks[-1] else page.next
                break
        if after is None or len(items) == ask.limit or looked_at >= most:
            break
    body = b'{"items":[%b],"revision":%d,"next":%b}' % (
        b",".join(item.model_dump_json().encode() for item in items),
        revision or 0,
        msgspec.json.encode(_next_token(after)),
    )
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def plainly(view: Callable[[Any, Ask], Page[M]]) -> Callable[[Ask], View[Named[Page[M]]]]:
    """The reader of pages of nouns whose answers show no other's name."""
    return lambda ask: lambda c: Named(view(c, ask), {})


Look = Callable[[int, ProjectId | None], View[Named[News[M]]]]
"""(since, scope) -> the view that reads what is new."""


async def watched(
    desk: Desk,
    asking: Caller,
    watching: Watching,
    look: Look[M],
    show: Callable[[M, dict[str, str]], S],
    keep: Callable[[S], bool] | None = None,
    *,
    lasting: bool = False,
) -> Response:
    """The stream of changes. With a filter, what no longer fits it is told as deleted.

    :param lasting: what does not fit the filter never did and never will: it is not told at all.
    :raise Stale: `watch_too_old`.
    """
    since = desk.control.store.revision if watching.since is None else watching.since
    first = await desk.control.store.read(look(since, asking.scope))  # what refuses, refuses before the answer begins

    async def lines() -> AsyncIterator[bytes]:
        found, clock = first, desk.control.clock
        bookmark_at = clock.monotonic()  # at once: the client then knows that it is heard
        with suppress(HouyiError):  # the stream ends; the client takes it up at its last revision, and hears then what is wrong
            while True:
                for item in found.what.items:
                    object_now = None if item.object is None else show(item.object, found.names)
                    fits = object_now is not None and (keep is None or keep(object_now))
                    if fits or not lasting:
                        yield _line(item.revision, item.id, object_now if fits else None)
                revision = found.what.revision
                if not found.what.items:
                    if clock.monotonic() >= bookmark_at:
                        yield _encoded(Change[Any](op="bookmark", revision=revision))
                        bookmark_at = clock.monotonic() + BOOKMARK_SECONDS
                    if desk.closing.is_set():
                        return
                    await desk.control.store.wait(revision, LOOK_SECONDS)
                    await desk.doorkeeper.check_still(asking.token)
                found = await desk.control.store.read(look(revision, asking.scope))

    return StreamingResponse(lines(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type=MEDIA_TYPE)


def _line(revision: int, number: str, item: BaseModel | None) -> bytes:
    if item is None:
        return _encoded(Change[Any](op="delete", revision=revision, id=number))
    return b'{"op":"put","revision":%d,"object":%b}\n' % (revision, item.model_dump_json().encode())


def _encoded(change: Change[Any]) -> bytes:
    return change.model_dump_json(exclude_none=True).encode() + b"\n"
