"""Answers what the server asks about a VM's exits and its disks: each question is a task of its own, and ends with its connection."""

import asyncio
from collections.abc import Awaitable, Callable

from houyi.base.log import get_log
from houyi.host.measures import Telemetry, Tracing
from houyi.model.errors import HouyiError, Problem
from houyi.wire.agents import Message, TraceAsk, TraceDone

log = get_log(__name__)

TRACES_MAX = 32
"""Questions at once: they share the kernel's tables, but each holds a reading of them."""

Send = Callable[[Message], Awaitable[None]]


class Traces:
    """Those of one connection to the server; `close()` when it ends."""

    def __init__(self, tracing: Tracing, telemetry: Telemetry, send: Send) -> None:
        self._tracing, self._telemetry, self._send = tracing, telemetry, send
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, message: TraceAsk) -> None:
        task = asyncio.create_task(self._answer(message), name=f"trace-{message.request}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, message: TraceAsk) -> None:
        done = await self._done(message)
        try:
            await self._send(done)
        except Exception as error:  # the connection is gone, and with it who asked
            log.info("trace_answer_lost", vm=message.vm_id, error=type(error).__name__)

    async def _done(self, message: TraceAsk) -> TraceDone:
        if len(self._tasks) > TRACES_MAX:
            return TraceDone(request=message.request, error=Problem("too_many_traces", f"{TRACES_MAX} VMs of this host are being looked at: try again later"))
        try:
            if message.what == "latency":
                return TraceDone(request=message.request, latency=await self._telemetry.latency(message.vm_id, message.seconds))
            return TraceDone(request=message.request, profile=await self._tracing.profile(message.vm_id, message.seconds))
        except HouyiError as error:
            return TraceDone(request=message.request, error=error.problem)
        except Exception:
            log.exception("tracing_failed", vm=message.vm_id)
            return TraceDone(request=message.request, error=Problem("tracing_refused", "the VM could not be looked at: the agent's log on its host says why"))


async def clear(tracing: Tracing) -> None:
    """What an agent that was killed has left, as the first thing."""
    try:
        await tracing.clear()
    except HouyiError as error:
        log.warning("tracing_left", detail=error.detail)
