"""The agent's /metrics: a minimal HTTP/1.0 answer with Prometheus text, on loopback unless configured otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from houyi.base.log import get_log

log = get_log(__name__)

_REQUEST_SECONDS = 5.0
"""A client that takes longer to ask is let go."""


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, host: str, port: int, *collectors: Collector) -> AsyncIterator[int]:
    """Yields the port. `collectors` are of this run of the agent, and go with it. A port that is taken is logged and does without: metrics must not keep VMs from being served."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith((b"GET /metrics ", b"GET /metrics?")):
                body = generate_latest(registry)
                status, kind = "200 OK", CONTENT_TYPE_LATEST
            else:
                body, status, kind = b"only GET /metrics is here\n", "404 Not Found", "text/plain"
            writer.write(f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    for collector in collectors:
        registry.register(collector)
    try:
        try:
            server = await asyncio.start_server(answer, host, port)
        except OSError as error:
            log.error("metrics_unavailable", host=host, port=port, error=str(error))
            yield 0
            return
        async with server:
            yield server.sockets[0].getsockname()[1]
    finally:
        for collector in collectors:
            registry.unregister(collector)
