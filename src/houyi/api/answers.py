"""Answers: JSON straight from the wire shapes, with the headers that go with them."""

import re
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel
from starlette.responses import Response

from houyi.model.errors import Invalid

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"')

IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match", description="The revision that the caller knows, as '\"42\"' (an ETag): refused with 412 when it was changed since.", max_length=64
    ),
]


def shown(model: BaseModel, status: int = 200, *, location: str = "") -> Response:
    """`model` as JSON; its `revision`, if any, as ETag."""
    headers = {"Cache-Control": "no-store"}
    revision = getattr(model, "revision", None)
    if revision is not None and hasattr(model, "id"):
        headers["ETag"] = f'"{revision}"'
    if location:
        headers["Location"] = location
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


def nothing() -> Response:
    return Response(status_code=204)


def expected(if_match: str | None) -> int | None:
    """The revision that If-Match asks for; None: any. :raise Invalid: `if_match_invalid`."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Invalid("if_match_invalid", "If-Match takes one ETag as it was answered, such as '\"42\"', or '*'")
    return int(match[1])
