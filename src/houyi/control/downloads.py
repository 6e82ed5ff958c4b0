"""Reading an untrusted URL: streamed, resumable, never decoded, and never to an address that only this server can reach.

Redirects are followed by hand, and every target passes the same door: http or https, no credentials in it, and a name whose addresses are all
public (unless private ones are allowed). The connection then goes to the very address that was checked, so that a name which changes its answer
between the check and the use (DNS rebinding) gains nothing. Proxies of the environment are not used: they would resolve names by themselves.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from houyi.model.errors import Failed, Invalid, Unavailable

REDIRECTS_MAX = 5
"""Mirror networks use one or two; a loop is cut soon."""
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
"""Seconds without a byte after which the connection is given up and begun again."""
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (?P<start>[0-9]{1,18})-[0-9]{1,18}/(?P<total>[0-9]{1,18})")
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("2002::/16"))
"""IPv6 addresses that stand for IPv4 ones (NAT64, 6to4): a way around a check of IPv4 addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """An answer whose body can be read."""

    offset: int
    """Where in the file the body starts: what was asked for, or 0 when the server sends everything."""
    total: int | None
    """Size of the whole file, if the server says."""
    tag: str
    """A strong ETag, else empty."""
    chunks: AsyncIterator[bytes]
    """The body as sent, not decoded. :raise Unavailable: `download_interrupted`."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped is not None or any(ip in network for network in _TRANSLATED)):
        return False
    return ip.is_global and not ip.is_multicast


@asynccontextmanager
async def download(url: str, offset: int, tag: str, *, private: bool) -> AsyncIterator[Download]:
    """Ask for the file from `offset` on, provided that it is still the version called `tag`.

    :raise Invalid: `image_url_invalid`, `image_url_private`. :raise Failed: `download_refused` (it will not help to try again).
    :raise Unavailable: `download_interrupted` (it may help).
    """
    transport = httpx2.AsyncHTTPTransport(verify=True, retries=0, trust_env=False)
    async with httpx2.AsyncClient(transport=transport, timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
        for _ in range(REDIRECTS_MAX + 1):
            request = await _request(client, url, offset, tag, private=private)
            try:
                answer = await client.send(request, stream=True)
            except httpx2.TransportError as error:
                raise _interrupted(url, error) from error
            try:
                if answer.is_redirect:
                    url = urljoin(url, answer.headers.get("location", ""))
                    continue
                yield _accept(answer, url, offset)
                return
            finally:
                await answer.aclose()
    raise Failed("download_refused", f"the server of the URL redirects more than {REDIRECTS_MAX} times: give the final URL")


async def _request(client: httpx2.AsyncClient, url: str, offset: int, tag: str, *, private: bool) -> httpx2.Request:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Invalid("image_url_invalid", f"{url[:200]!r} is no URL: correct it") from error
    if parts.scheme not in ("http", "https") or not host:
        raise Invalid("image_url_invalid", f"{url[:200]!r} is no http or https URL: correct it")
    if parts.username or parts.password:
        raise Invalid("image_url_invalid", "a URL with a user name or password is not accepted, since URLs are shown to others: use one without")
    address = await _address(host, port or (443 if parts.scheme == "https" else 80), private=private)
    literal = f"[{address}]" if ":" in address else address
    target = parts._replace(netloc=f"{literal}:{port}" if port else literal, fragment="").geturl()
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "houyi"}
    if offset and tag:
        headers |= {"Range": f"bytes={offset}-", "If-Range": tag}
    try:
        return client.build_request("GET", target, headers=headers, extensions={"sni_hostname": host})
    except httpx2.InvalidURL as error:
        raise Invalid("image_url_invalid", f"{url[:200]!r} is no URL: correct it") from error


async def _address(host: str, port: int, *, private: bool) -> str:
    """The address to connect to: the first, when all are allowed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            "download_interrupted", f"the name {host[:200]!r} in the image's URL could not be resolved: correct it, or try again later"
        ) from error
    addresses = [str(entry[4][0]) for entry in found]
    if not private and not all(map(is_public, addresses)):
        raise Invalid("image_url_private", f"{host[:200]} is no public address, which the setting server.image_url_private forbids: upload the image instead")
    return addresses[0]


def _accept(answer: httpx2.Response, url: str, offset: int) -> Download:
    status = answer.status_code
    if status in _RETRIED:
        raise Unavailable("download_interrupted", f"the server of the image's URL answered {status}: try again later")
    if status == 416 and offset and answer.headers.get("content-range", "") == f"bytes */{offset}":  # everything was there already
        return Download(offset=offset, total=offset, tag="", chunks=_chunks(None, url))
    if status not in (200, 206):
        raise Failed("download_refused", f"the server of the image's URL answered {status}: correct the URL, or upload the image")
    length = answer.headers.get("content-length", "")
    total = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    start = 0
    if status == 206:
        match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None or int(match["start"]) != offset:
            raise Failed("download_refused", "the server of the image's URL sent another part of the file than it was asked for: upload the image instead")
        start, total = offset, int(match["total"])
    tag = answer.headers.get("etag", "")
    return Download(offset=start, total=total, tag="" if tag.startswith("W/") else tag, chunks=_chunks(answer, url))


async def _chunks(answer: httpx2.Response | None, url: str) -> AsyncIterator[bytes]:
    if answer is None:
        return
    try:
        async for data in answer.aiter_raw():
            yield data
    except httpx2.TransportError as error:
        raise _interrupted(url, error) from error


def _interrupted(url: str, error: Exception) -> Unavailable:
    words = str(error) or type(error).__name__
    return Unavailable("download_interrupted", f"the connection to {urlsplit(url).hostname} broke ({words}): it is tried again")
