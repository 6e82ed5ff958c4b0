"""Idempotency-Key: a POST with the same key and the same body has one effect and one answer, however often it is sent.

The answer is written in the transaction of the wish (control.control.remembered). What was refused is not remembered: it may be tried again.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk
from houyi.api.desk import Desk
from houyi.control.control import Context, Idempotency
from houyi.model.errors import Conflict, HouyiError
from houyi.store.views.idempotency import find_answer

T = TypeVar("T")

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any text of the caller's, such as a UUID: repeating the request with it has no further effect and gets the same answer.",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
    ),
]


@dataclass(frozen=True, slots=True)
class Once:
    """One POST request, to be carried out once."""

    desk: Desk
    context: Context
    key: str | None
    request_sha256: str

    async def answer(
        self,
        act: Callable[[Context], Awaitable[T]],
        show: Callable[[T], BaseModel],
        *,
        status: int,
        location: str,
        secret: Callable[[BaseModel], BaseModel] | None = None,
    ) -> Response:
        """Carry it out, or repeat the answer of the first time.

        :param location: prefix of the Location header; the answer's id follows. '': the answer is no object that stays.
        :param secret: adds to the first answer what is never kept.
        :raise Conflict: `idempotency_mismatch`.
        """
        if self.key is None:
            return _answer(show(await act(self.context)), status, location, secret)
        again = await self._before(status, location)
        if again is not None:
            return again
        first: list[BaseModel] = []

        def render(result: Any) -> tuple[int, str]:
            first[:] = [show(result)]
            return status, first[0].model_dump_json()

        idempotency = Idempotency(self.context.actor, self.key, self.request_sha256, render)
        try:
            result = await act(replace(self.context, idempotency=idempotency))
        except HouyiError:
            # Perhaps the very same request was first: its name is taken, its key is in use, its operation has ended.
            again = await self._before(status, location)
            if again is None:
                raise
            return again
        return _answer(first[0] if first else show(result), status, location, secret)

    async def _before(self, status: int, location: str) -> Response | None:
        key = self.key or ""
        found = await self.desk.control.store.read(lambda c: find_answer(c, self.context.actor, key))
        if found is None:
            return None
        if found.request_sha256 != self.request_sha256:
            raise Conflict("idempotency_mismatch", "this Idempotency-Key was used for another request: use a new one")
        known = json.loads(found.response)
        headers = {"Cache-Control": "no-store", "Idempotency-Replayed": "true"}
        if location:
            headers |= {"Location": f"{location}{known['id']}", "ETag": f'"{known["revision"]}"'}
        return Response(found.response, found.status, headers, media_type="application/json")


def _answer(model: BaseModel, status: int, location: str, secret: Callable[[BaseModel], BaseModel] | None) -> Response:
    where = f"{location}{getattr(model, 'id', '')}" if location else ""
    return shown(secret(model) if secret else model, status, location=where)


async def once(request: Request, desk: AtDesk, asking: Asking, idempotency_key: KeyHeader = None) -> Once:
    """:raise Invalid: a key that is not 1 to 255 printable ASCII characters."""
    # The project that it acts in belongs to the request: the same words said elsewhere are another wish.
    told = [request.method.encode(), request.url.path.encode(), request.url.query.encode(), asking.project.id.encode(), await request.body()]
    sha256 = hashlib.sha256(b"\0".join(told)).hexdigest()
    return Once(desk, asking.context, idempotency_key, sha256)


DoneOnce = Annotated[Once, Depends(once)]
