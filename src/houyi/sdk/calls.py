"""Requests as typed values, and one definition of each method for the sync and the async client alike.

A method is written once, as a function from its arguments to a Call; the descriptor `method` makes of it what the client at hand can do:
`client.vms.start("hello")` is an Operation, `async_client.vms.start("hello")` an awaitable of one. Type checkers see both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from houyi.sdk.async_transport import AsyncTransport
from houyi.sdk.core import Params
from houyi.sdk.paths import path
from houyi.sdk.transport import Transport
from houyi.wire.v1.shape import Change

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound="SyncNoun[Any] | AsyncNoun[Any]")


def nothing(content: Any) -> None:
    """The answer of what answers nothing."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how its answer is read."""

    verb: str
    where: str
    parse: Callable[[Any], T]
    body: BaseModel | None = None
    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Of a transport's `request`. Only what was set goes into the body, so that the server's defaults hold."""
        body = None if self.body is None else self.body.model_dump(mode="json", exclude_unset=True)
        return {"body": body, "params": self.params, "headers": self.headers}


class SyncNoun(Generic[M]):
    """The methods that every noun with a list has, for the sync client."""

    def __init__(self, transport: Transport, plural: str, shape: type[M]) -> None:
        self.transport = transport
        self.plural = plural
        self.shape = shape

    def list(self, **filters: str | bool) -> Iterator[M]:
        """All of them, oldest first, page by page as they are taken."""
        for page in self.transport.pages(path(self.plural), params=filters):
            yield from map(self.shape.model_validate, page["items"])

    def watch(self, since: int | None = None, **filters: str | bool) -> Iterator[Change[M]]:
        """Every change from a list's revision on (by default: from now on), until the server ends the stream; go on at the last one's revision.

        :raise Stale: `watch_too_old`: list again.
        """
        shape = Change[self.shape]  # type: ignore[name-defined] # mypy knows no types made at run time
        for line in self.transport.lines(path(self.plural), params={**filters, "watch": True, "since": since}):
            yield shape.model_validate(line)

    def show(self, reference: str) -> M:
        """One of them, by name or id. :raise NotFound:"""
        return self.shape.model_validate(self.transport.request("GET", path(self.plural, reference)))


class AsyncNoun(Generic[M]):
    """The methods that every noun with a list has, for the async client."""

    def __init__(self, transport: AsyncTransport, plural: str, shape: type[M]) -> None:
        self.transport = transport
        self.plural = plural
        self.shape = shape

    async def list(self, **filters: str | bool) -> AsyncIterator[M]:
        """All of them, oldest first, page by page as they are taken."""
        async for page in self.transport.pages(path(self.plural), params=filters):
            for item in page["items"]:
                yield self.shape.model_validate(item)

    async def watch(self, since: int | None = None, **filters: str | bool) -> AsyncIterator[Change[M]]:
        """Every change from a list's revision on (by default: from now on), until the server ends the stream; go on at the last one's revision.

        :raise Stale: `watch_too_old`: list again.
        """
        shape = Change[self.shape]  # type: ignore[name-defined] # mypy knows no types made at run time
        async for line in self.transport.lines(path(self.plural), params={**filters, "watch": True, "since": since}):
            yield shape.model_validate(line)

    async def show(self, reference: str) -> M:
        """One of them, by name or id. :raise NotFound:"""
        return self.shape.model_validate(await self.transport.request("GET", path(self.plural, reference)))


class method(Generic[P, T]):  # noqa: N801 - it is used like `property`
    """Makes a method of both clients out of a function that builds its Call."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, noun: SyncNoun[Any], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, noun: AsyncNoun[Any], owner: type) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, noun: None, owner: type) -> "method[P, T]": ...
    def __get__(self, noun: SyncNoun[Any] | AsyncNoun[Any] | None, owner: type) -> Any:
        if noun is None:
            return self
        if isinstance(noun, SyncNoun):
            return self._sync(noun)
        return self._async(noun)

    def _sync(self, noun: SyncNoun[Any]) -> Callable[P, T]:
        @wraps(self._build)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            call = self._build(noun, *args, **kwargs)
            return call.parse(noun.transport.request(call.verb, call.where, **call.arguments()))

        return run

    def _async(self, noun: AsyncNoun[Any]) -> Callable[P, Awaitable[T]]:
        @wraps(self._build)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            call = self._build(noun, *args, **kwargs)
            return call.parse(await noun.transport.request(call.verb, call.where, **call.arguments()))

        return run
