"""What a request must have before anything of it is read: a token (everywhere but at the few open paths), a body of our kind, and not too much of it."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from houyi.api.desk import desk_of
from houyi.model.errors import Invalid, TooLarge

OPEN = frozenset({"/healthz", "/openapi.json", "/docs", "/docs/page.js", "/docs/page.css"})
"""Paths without authentication. Nothing else: what is not here needs a token, also what does not exist."""

_UPLOAD = re.compile(r"/v1/images/[^/]+/content")
"""Limited by max_image_bytes instead, while it is received."""


class Gate:
    """Of HTTP requests; websockets authenticate in their routes, since a ticket may stand for the token there."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if scope["path"] not in OPEN:
            scope["houyi.identity"] = await desk_of(connection).doorkeeper.who(connection.headers.get("authorization", ""))
        upload = scope["method"] == "PUT" and _UPLOAD.fullmatch(scope["path"])
        if upload:
            await self._app(scope, receive, send)
            return
        self._check(connection)
        await self._app(scope, _Limited(receive, self._limit).receive, send)

    def _check(self, connection: HTTPConnection) -> None:
        headers = connection.headers
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._limit:
            raise TooLarge("body_too_large", _too_large(self._limit), limit_bytes=self._limit)
        has_body = length != "0" or "transfer-encoding" in headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and kind != "application/json":
            raise Invalid("not_json", "send the body as JSON, with 'Content-Type: application/json'")


class _Limited:
    """Counts a body that does not say its length."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # The framework hides other exceptions that are raised while it reads a body.
            raise HTTPException(413, _too_large(self._limit))
        return message


def _too_large(limit: int) -> str:
    return f"a request's body is limited to {limit} bytes (setting server.max_body_bytes)"
