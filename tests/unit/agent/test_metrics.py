"""/metrics says what the agent does, to whoever asks in HTTP, and takes no harm from whoever does not."""

import asyncio

import pytest

from houyi.agent.counts import Counts
from houyi.agent.metrics import serve_metrics
from houyi.model.vm import VmState

pytestmark = pytest.mark.anyio


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_what_is_told() -> None:
    counts = Counts()
    counts.passes.inc()
    counts.set_states({VmState.RUNNING: 3})
    counts.failures.labels("start", "libvirt_failed").inc()
    with counts.step("start"):
        pass
    async with serve_metrics(counts.registry, "127.0.0.1", 0) as port:
        head, _, body = (await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK")
        for line in (
            b'houyi_agent_vms{state="running"} 3.0',
            b"houyi_agent_passes_total 1.0",
            b"houyi_agent_connected 0.0",
            b'houyi_agent_step_failures_total{code="libvirt_failed",step="start"} 1.0',
            b'houyi_agent_step_seconds_count{step="start"} 1.0',
        ):
            assert line in body.splitlines()
        assert (await ask(port, b"GET /secrets HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.0 404")
        assert await ask(port, b"\x16\x03\x01") == b""
        assert await ask(port, b"GET /metrics " + b"x" * 100_000) == b""


async def test_a_port_that_is_taken_does_not_stop_the_agent() -> None:
    async with serve_metrics(Counts().registry, "127.0.0.1", 0) as port, serve_metrics(Counts().registry, "127.0.0.1", port) as second:
        assert second == 0
