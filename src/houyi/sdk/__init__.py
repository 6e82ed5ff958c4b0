"""The Python client: `Client` and `AsyncClient`, over one core. What is refused is raised as one of houyi.model.errors.

The classes are imported when they are first asked for, so that a part of this package can be used without the weight of all of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from houyi.sdk.async_client import AsyncClient
    from houyi.sdk.client import Client

__all__ = ["AsyncClient", "Client"]

_HOMES = {"AsyncClient": "houyi.sdk.async_client", "Client": "houyi.sdk.client"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
