"""Requests to the API in its own JSON, one after another, sync. Knows no noun: paths and bodies are the caller's."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from houyi.sdk.core import PATIENT, USUAL, Params, Server, parse_line, pause_after, request, texts
from houyi.sdk.problems import content_of


class Transport:
    """A pool of connections to one server, with one token; close it, or use it as a context manager."""

    def __init__(
        self, url: str, token: str, *, project: str = "", transport: httpx2.BaseTransport | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """:param project: name or id of the project to act in, for administrators; empty: the token's own.

        :raise Invalid: `url_invalid`: it is no http(s) URL.
        """
        self.server = Server.of(url, token, project)
        self._sleep = sleep
        self._http = httpx2.Client(
            headers=self.server.headers,
            params=self.server.params,
            timeout=USUAL,
            transport=transport,
            trust_env=self.server.through_proxy,
            verify=self.server.encrypted,
        )

    def request(self, method: str, where: str, *, body: object | None = None, params: Params | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON; None when it has no content.

        :raise HouyiError: what the server refused, by its class. :raise Unavailable: `server_unreachable`.
        """
        asked = request(method, where, body, params, headers)
        attempt = 0
        while True:
            try:
                answer = self._http.request(method, self.server.url + where, content=asked.content, params=asked.params, headers=asked.headers)
            except httpx2.TransportError as error:
                pause = pause_after(asked, attempt, error)
                if pause is None:
                    raise self.server.unreachable(error) from None
            else:
                pause = pause_after(asked, attempt, answer.status_code)
                if pause is None:
                    return content_of(answer.status_code, answer.content)
            self._sleep(pause)
            attempt += 1

    def pages(self, where: str, *, params: Params | None = None) -> Iterator[Any]:
        """Every page of a list, one after another: {"items", "revision", "next"}."""
        asked = dict(params or {})
        while True:
            page = self.request("GET", where, params=asked)
            yield page
            if not page.get("next"):
                return
            asked["page_token"] = page["next"]

    def lines(self, where: str, *, params: Params | None = None) -> Iterator[Any]:
        """What a stream of JSON lines brings, until it ends. :raise HouyiError: as `request`."""
        try:
            with self._http.stream("GET", self.server.url + where, params=texts(params), timeout=PATIENT) as answer:
                if answer.status_code >= 400:
                    content_of(answer.status_code, answer.read())
                for line in answer.iter_lines():
                    value = parse_line(line)
                    if value is not None:
                        yield value
        except httpx2.TransportError as error:
            raise self.server.unreachable(error) from None

    def content(self, where: str) -> bytes:
        """An answer as it is, whatever its type. :raise HouyiError: as `request`."""
        try:
            answer = self._http.get(self.server.url + where)
        except httpx2.TransportError as error:
            raise self.server.unreachable(error) from None
        if answer.status_code >= 400:
            content_of(answer.status_code, answer.content)
        return answer.content

    def upload(self, where: str, chunks: Iterable[bytes], *, headers: Mapping[str, str]) -> Any:
        """PUT a body of any size as it comes. Never repeated here: the caller knows where it may go on. :raise HouyiError: as `request`."""
        try:
            answer = self._http.put(self.server.url + where, content=iter(chunks), headers=dict(headers), timeout=PATIENT)
        except httpx2.TransportError as error:
            raise self.server.unreachable(error) from None
        return content_of(answer.status_code, answer.content)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
