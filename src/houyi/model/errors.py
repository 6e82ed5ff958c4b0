"""The error tree: one class for each thing that a caller can do about it.

Every error has a stable `code` (snake_case, part of the API), a `detail` for people that says what to do next, and
`extra` members (JSON-able) that end up in the problem+json body. The HTTP status of each class is in `api/problems.py`,
the exit code in `cli/exits.py`; nothing else may map them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a value: stored with an operation or an observed VM, sent over the wire, shown to people."""

    code: str
    detail: str


class HouyiError(Exception):
    """Base of everything that we refuse or fail on purpose. `raise` a subclass."""

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra: Mapping[str, Any] = extra

    @property
    def problem(self) -> Problem:
        return Problem(self.code, self.detail)


class Invalid(HouyiError):
    """The request can never work as it is: correct it."""


class Unauthenticated(HouyiError):
    """No or bad credentials: log in."""


class Forbidden(HouyiError):
    """Known, but not allowed: ask an administrator."""


class NotFound(HouyiError):
    """It is not there, or not visible to the caller."""


class Conflict(HouyiError):
    """The present state refuses it (name taken, protected, wrong power state): change that state first."""


class Stale(HouyiError):
    """The caller's copy is old (If-Match failed, watch too old): read again."""


class TooLarge(HouyiError):
    """A body or an image beyond the limit."""


class NoCapacity(HouyiError):
    """No host can take it; `extra` says what was asked and what is left."""


class Unavailable(HouyiError):
    """Something needed is away for now: try again later."""


class Failed(HouyiError):
    """It was tried and did not work: the host, libvirt, QEMU or a tool refused; `detail` has its words."""
