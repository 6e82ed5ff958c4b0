"""Answers of the API as values or as errors of model.errors: the one place where HTTP statuses mean something to clients."""

import json
from collections.abc import Mapping
from typing import Any

from houyi.model import errors

BY_STATUS: Mapping[int, type[errors.HouyiError]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Stale,
    412: errors.Stale,
    413: errors.TooLarge,
    429: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
    507: errors.NoCapacity,
}
"""HTTP status -> error class; other 4xx are Invalid, other 5xx Failed."""


def content_of(status: int, content: bytes) -> Any:
    """The JSON of an answer; None when it has no content.

    :raise HouyiError: what a problem says. :raise Failed: `answer_unreadable`.
    """
    if status >= 400:
        raise problem_error(status, content)
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise errors.Failed("answer_unreadable", f"the server answered {status} without JSON: is this the URL of a Houyi server?") from None


def problem_error(status: int, content: bytes) -> errors.HouyiError:
    """The error that a problem+json body says; an honest one when it is none."""
    kind = BY_STATUS.get(status, errors.Invalid if status < 500 else errors.Failed)
    try:
        problem = json.loads(content)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return kind("http_error", f"the server answered {status} without saying why: is this the URL of a Houyi server?", status=status)
    fields = [f"{one['field']}: {one['problem']}" for one in problem.get("fields") or ()]
    more = "; ".join(field for field in fields if field not in detail)
    return kind(code, f"{detail}; {more}" if more else detail, **(problem.get("extra") or {}))
