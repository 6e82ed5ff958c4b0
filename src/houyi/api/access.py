"""The outermost layer: every request gets an id, a line in the log and a count, and whatever happens within becomes an answer without internals."""

import re
import time
import uuid

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from houyi.api.figures import Figures
from houyi.api.problems import on_http, problem
from houyi.base.log import bound, get_log
from houyi.model.errors import Failed, HouyiError

log = get_log(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_QUIET = frozenset({"/healthz", "/metrics"})
"""Asked by machines every few seconds: logged at debug."""


class Access:
    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = HTTPConnection(scope).headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        scope["houyi.request_id"] = request_id
        answered = _Answered(request_id, send)
        began = time.perf_counter()
        with bound(request_id=request_id):
            try:
                await self._app(scope, receive, answered.send)
            except ClientDisconnect:
                answered.status = answered.status or 499
            except Exception as error:
                await self._refuse(error, scope, receive, answered)
            finally:
                self._tell(scope, answered, time.perf_counter() - began)

    async def _refuse(self, error: Exception, scope: Scope, receive: Receive, answered: "_Answered") -> None:
        if isinstance(error, HTTPException):
            answer: Response = await on_http(HTTPConnection(scope), error)
        elif isinstance(error, HouyiError):
            answer = problem(error, answered.request_id)
        else:
            log.exception("request_crashed", path=scope["path"])
            answer = problem(Failed("internal_error", "the server failed: its log says more under this request id"), answered.request_id)
            answer.status_code = 500
        if not answered.status:
            await answer(scope, receive, answered.send)
        elif not isinstance(error, HouyiError | HTTPException):
            raise error  # the connection is cut, so that half an answer is not taken for a whole one

    def _tell(self, scope: Scope, answered: "_Answered", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "WEBSOCKET")
        identity = scope.get("houyi.identity")
        status = answered.status or 499
        if status != 499 and route != "none":
            self._figures.count(method, route, status, seconds)
        say = log.debug if scope["path"] in _QUIET else log.info
        actor = f"token:{identity.token.id}" if identity else ""
        say("request", method=method, path=scope["path"], status=status, ms=round(seconds * 1000, 1), actor=actor, sent_bytes=answered.sent_bytes)


class _Answered:
    """Watches what is sent, and puts the request's id into it."""

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.status = 0
        self.sent_bytes = 0
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            message = {
                **message,
                "headers": [*message.get("headers", ()), (b"x-request-id", self.request_id.encode()), (b"x-content-type-options", b"nosniff")],
            }
        elif message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] in ("websocket.close", "websocket.http.response.body") and not self.status:
            self.status = 403
        self.sent_bytes += len(message.get("body") or message.get("bytes") or b"")
        await self._send(message)
