"""What the sync and the async transport share: requests as values, answers as values or errors, and when to try again. Sends nothing itself."""

import json
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import httpx2

from houyi.model import errors

CONNECT_SECONDS = 5.0
READ_SECONDS = 75.0
"""Longer than the longest `?wait=` that the API allows, so that waiting is no time-out."""
PATIENT = httpx2.Timeout(None, connect=CONNECT_SECONDS)
"""For streams and uploads, which may be silent for long."""
USUAL = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
PAUSES = (0.2, 0.8, 2.0)
"""Seconds before the second, third and last attempt: a server that restarts is back within them."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Params = Mapping[str, str | int | float | bool | Sequence[str] | None]
"""Query parameters; None leaves one out, several values repeat it."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go and what authorises them."""

    url: str
    token: str
    project: str = ""

    @classmethod
    def of(cls, url: str, token: str, project: str = "") -> "Server":
        """:raise Invalid: `url_invalid`: it is no http(s) URL."""
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            raise errors.Invalid("url_invalid", f"{url[:200]!r} is not the URL of a server: it begins with http:// or https://")
        return cls(url.rstrip("/"), token, project)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def params(self) -> dict[str, str]:
        return {"project": self.project} if self.project else {}

    @property
    def through_proxy(self) -> bool:
        """Proxies of the environment do not lead to this machine itself."""
        return urlsplit(self.url).hostname not in LOOPBACK

    @property
    def encrypted(self) -> bool:
        """Whether certificates are checked; reading the machine's list of them takes longer than everything else, so plain HTTP skips it."""
        return self.url.startswith("https:")

    def websocket_url(self, where: str, **params: str) -> str:
        """The ws(s) URL of a path of this server."""
        query = urlencode({**self.params, **params})
        return "ws" + self.url.removeprefix("http") + where + (f"?{query}" if query else "")

    def tls(self) -> ssl.SSLContext | None:
        """For websockets to this server."""
        return ssl.create_default_context() if self.encrypted else None

    def unreachable(self, error: Exception) -> errors.Unavailable:
        words = " ".join(str(error).split()) or type(error).__name__
        return errors.Unavailable("server_unreachable", f"no answer from {self.url} ({words[:200]}): start the server with `houyi up`, or correct the URL")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    where: str
    content: bytes | None
    params: Mapping[str, str | list[str]]
    headers: Mapping[str, str]


def request(method: str, where: str, body: object | None, params: Params | None, headers: Mapping[str, str] | None) -> Request:
    """A request in JSON. Every POST carries an Idempotency-Key, so that trying again cannot do it twice."""
    fields = dict(headers or {})
    if method == "POST":
        fields.setdefault("Idempotency-Key", str(uuid.uuid4()))
    content = None if body is None else json.dumps(body).encode()
    if content is not None:
        fields.setdefault("Content-Type", "application/json")
    return Request(method, where, content, texts(params), fields)


def texts(params: Params | None) -> dict[str, str | list[str]]:
    return {name: _text(value) for name, value in (params or {}).items() if value is not None}


def _text(value: str | int | float | bool | Sequence[str]) -> str | list[str]:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else list(value)


def pause_after(asked: Request, attempt: int, outcome: int | Exception) -> float | None:
    """Seconds until the next attempt after a status or a failure of the network; None: this is the end.

    :param attempt: 0 for the first. What may have reached the server is only repeated where repeating changes nothing.
    """
    if attempt >= len(PAUSES):
        return None
    if isinstance(outcome, int):
        return PAUSES[attempt] if outcome in (429, 503) else None
    untouched = isinstance(outcome, httpx2.ConnectError | httpx2.ConnectTimeout)
    harmless = asked.method in ("GET", "PUT") or "Idempotency-Key" in asked.headers
    return PAUSES[attempt] if untouched or (harmless and not isinstance(outcome, httpx2.ReadTimeout)) else None


def parse_line(line: str) -> object | None:
    """The JSON of one line of a stream, also of a server-sent event's `data:`; None for what is only there to keep it open."""
    text = line.removeprefix("data:").strip()
    return json.loads(text) if text.startswith(("{", "[")) else None
