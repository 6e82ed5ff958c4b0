"""The server's end of questions about VMs' exits and disks: each waits for its answer over one link."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from houyi.model.errors import Conflict, Unavailable
from houyi.model.exits import ExitProfile
from houyi.model.ids import VmId
from houyi.model.latency import LatencyProfile
from houyi.wire.agents import Message, TraceAsk, TraceDone

TRACES_MAX = 64
"""On one link at once."""
LATE_SECONDS = 15.0
"""How much later than asked an answer may come: a busy host takes a while to make and to read the kernel's tables."""

Send = Callable[[Message], Awaitable[None]]


class LinkTraces:
    """All questions of one link."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[int, asyncio.Future[TraceDone]] = {}
        self._last = 0

    async def exits(self, vm_id: VmId, seconds: float) -> ExitProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`. :raise Conflict: as the host refused."""
        done = await self._ask(vm_id, seconds, "exits")
        if done.profile is None:
            raise _refusal(done)
        return done.profile

    async def latency(self, vm_id: VmId, seconds: float) -> LatencyProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`. :raise Conflict: as the host refused."""
        done = await self._ask(vm_id, seconds, "latency")
        if done.latency is None:
            raise _refusal(done)
        return done.latency

    async def _ask(self, vm_id: VmId, seconds: float, what: Literal["exits", "latency"]) -> TraceDone:
        if len(self._waiting) >= TRACES_MAX:
            raise Unavailable("too_many_traces", f"{TRACES_MAX} VMs of this host are being looked at already: try again in a minute")
        self._last += 1
        number = self._last
        answer: asyncio.Future[TraceDone] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send(TraceAsk(request=number, vm_id=vm_id, seconds=seconds, what=what))
            async with asyncio.timeout(seconds + LATE_SECONDS):
                return await answer
        except TimeoutError:
            raise Unavailable("trace_late", "the VM's host did not answer in time: is its agent as new as this server, and the host not overloaded?") from None
        finally:
            del self._waiting[number]

    def done(self, message: TraceDone) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        answer = self._waiting.get(message.request)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def close(self) -> None:
        """The link has ended."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("host_unreachable", "the link to the VM's host was lost: try again when it is back"))


def _refusal(done: TraceDone) -> Conflict:
    problem = done.error
    return Conflict(*((problem.code, problem.detail) if problem is not None else ("tracing_refused", "the host did not say why")))
