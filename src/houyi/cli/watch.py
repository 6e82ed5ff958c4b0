"""Staying with a list: first all of it, then every change without a gap, until interrupted."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from houyi.cli.output import Column, Format, Row, console_on, note, table_of, write_line
from houyi.model.errors import Stale, Unavailable

if TYPE_CHECKING:
    from houyi.sdk.core import Params
    from houyi.sdk.transport import Transport

_PAUSE_SECONDS = 1.0
"""Between attempts to reach a server that went away while we watched."""


def watch_list(api: "Transport", where: str, columns: Callable[[float], Sequence[Column]], form: Format, params: "Params") -> None:
    """A live table, or (for programs) one JSON object for each item as it is and then for each change: {"change", "object"}."""
    if form is not Format.TABLE:
        for change in changes(api, where, params):
            write_line(change)
        return
    import sys

    from rich.live import Live

    rows: dict[str, Row] = {}
    with Live(console=console_on(sys.stdout), auto_refresh=False) as live:
        for change in changes(api, where, params):
            item = change["object"]
            if change["change"] == "removed":
                rows.pop(item["id"], None)
            else:
                rows[item["id"]] = item
            live.update(table_of(rows.values(), columns(time.time())), refresh=True)


def changes(api: "Transport", where: str, params: "Params") -> Iterator[Any]:
    """Items that are there as 'present', then what changes as 'changed' and 'removed'; endless.

    A server that goes away is looked for again, and changes that it has forgotten meanwhile are made good by listing anew.
    """
    known: set[str] = set()
    reached = False
    while True:
        try:
            revision, items = _listed(api, where, params)
            reached = True
            for item in items:
                yield {"change": "present", "object": item}
            for gone in known - {item["id"] for item in items}:
                yield {"change": "removed", "object": {"id": gone}}
            known = {item["id"] for item in items}
            yield from _followed(api, where, params, revision, known)
        except Stale:
            continue
        except Unavailable as error:
            if not reached:
                raise
            note(f"lost the server ({error.code}): trying again")
            time.sleep(_PAUSE_SECONDS)


def news(api: "Transport", where: str, params: "Params") -> Iterator[Any]:
    """What comes from now on, of things that never change once they are there; endless. :raise Unavailable: there is no server to begin with."""
    since: int | None = None
    while True:
        try:
            for line in api.lines(where, params={**params, "watch": 1, "since": since}):
                since = line["revision"]
                if line["op"] == "put":
                    yield line["object"]
        except Stale:
            since = None
        except Unavailable as error:
            if since is None:
                raise
            note(f"lost the server ({error.code}): trying again")
        time.sleep(_PAUSE_SECONDS)


def _listed(api: "Transport", where: str, params: "Params") -> tuple[int, list[Any]]:
    items: list[Any] = []
    revision = 0
    for page in api.pages(where, params=params):
        revision = revision or page["revision"]
        items += page["items"]
    return revision, items


def _followed(api: "Transport", where: str, params: "Params", revision: int, known: set[str]) -> Iterator[Any]:
    while True:
        for line in api.lines(where, params={**params, "watch": 1, "since": revision}):
            revision = line["revision"]
            if line["op"] == "bookmark":
                continue
            removed = line["op"] == "delete"
            item = {"id": line["id"]} if removed else line["object"]
            if removed:
                known.discard(item["id"])
            else:
                known.add(item["id"])
            yield {"change": "removed" if removed else "changed", "object": item}
        time.sleep(_PAUSE_SECONDS)  # the server ended the stream: it restarts, or this token has ended
