"""Every refusal as problem+json (RFC 9457), and the one table from error classes to HTTP statuses."""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from houyi.model import errors
from houyi.wire.v1.shape import FieldProblem, ProblemBody

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.HouyiError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Stale: 412,
    errors.TooLarge: 413,
    errors.Failed: 502,
    errors.Unavailable: 503,
    errors.NoCapacity: 507,
}
"""Every class of model.errors has its row; a test compares."""

BY_CODE: Mapping[str, int] = {
    "watch_too_old": 410,  # nothing was expected of it: the changes are gone for good
    "not_json": 415,
    "method_not_allowed": 405,
}
"""Codes whose status says more than their class's."""

RETRY_SECONDS = 1
"""What Retry-After says with a 503."""


def status_of(error: errors.HouyiError) -> int:
    return BY_CODE.get(error.code) or next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: errors.HouyiError, request_id: str, fields: list[FieldProblem] | None = None) -> Response:
    status = status_of(error)
    kind = type(error).__name__
    body = ProblemBody(
        type=f"urn:houyi:problem:{error.code}",
        title=" ".join((type(error).__doc__ or kind).split()),
        status=status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        fields=fields,
        extra=dict(error.extra) or None,
    )
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="houyi"'
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if "allow" in error.extra:
        headers["Allow"] = str(error.extra["allow"])
    return Response(body.model_dump_json(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def request_id_of(connection: HTTPConnection) -> str:
    return str(connection.scope.get("houyi.request_id", ""))


async def on_refusal(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, errors.HouyiError)
    return problem(error, request_id_of(request))


async def on_invalid(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [FieldProblem(field=_where(one["loc"]), problem=str(one["msg"])) for one in error.errors()[:20]]
    first = f"{fields[0].field}: {fields[0].problem}" if fields else "it does not have the documented form"
    return problem(errors.Invalid("invalid_request", f"the request is not as documented in /openapi.json: {first}"), request_id_of(request), fields)


def _where(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:100] for part in loc)


async def on_http(request: HTTPConnection, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)
    return problem(_as_ours(error, request), request_id_of(request))


def _as_ours(error: HTTPException, request: HTTPConnection) -> errors.HouyiError:
    if error.status_code == 404:
        return errors.NotFound("path_not_found", "there is nothing at this path: see /openapi.json")
    if error.status_code == 405:
        path = getattr(request.scope.get("route"), "path", "")
        known = sorted({method for method, its_path in request.app.state.query_names if its_path == path})
        return errors.Invalid("method_not_allowed", "this path does not know that method: see /openapi.json", allow=", ".join(known))
    if error.status_code == 413:
        return errors.TooLarge("body_too_large", error.detail)
    if error.status_code < 500:
        return errors.Invalid("invalid_request", f"the request cannot be read: {error.detail}")
    return errors.Failed("internal_error", "the server failed: its log says more under this request id")
