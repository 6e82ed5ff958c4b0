"""Structured logs: one JSON object a line (or text for people) on standard error, with the request and operation id of the task that logs.

log = get_log(__name__); log.info("vm_started", vm=vm_id)      an event name, then facts
with bound(request_id=...): ...                                 facts for everything logged within
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

_SECRET_WORDS = ("secret", "token", "authorization", "password", "private_key", "user_data")


def _hide_secrets(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in facts:
        if any(word in name.lower() for word in _SECRET_WORDS) and not name.endswith("_id"):
            facts[name] = "***"
    return facts


def set_up(level: str = "info", form: str = "auto") -> None:
    """Configure logging of this process, our own and the libraries'."""
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_secrets,
    ]
    if as_text:
        # The default formatter of exceptions prints local variables, and so secrets.
        shared += [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        encode = msgspec.json.Encoder(enc_hook=str).encode
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=lambda facts, **_: encode(facts).decode())]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(logging.WARNING, getattr(logging, level.upper())), stream=sys.stderr, format="%(message)s", force=True)


def get_log(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that adds `module=name`."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return log


@contextmanager
def bound(**facts: str) -> Iterator[None]:
    """Add facts (request_id, operation_id ...) to every line logged within, also by tasks started within."""
    with structlog.contextvars.bound_contextvars(**facts):
        yield
