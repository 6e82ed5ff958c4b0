"""Questions about exits over the link: each answered by itself, with what was seen or with why not."""

import asyncio
from dataclasses import dataclass, field

import pytest

from houyi.agent import traces
from houyi.agent.traces import TRACES_MAX, Traces
from houyi.model.errors import Conflict, Failed
from houyi.model.exits import ExitProfile, Virtualization
from houyi.model.ids import VmId
from houyi.model.latency import LatencyProfile
from houyi.wire.agents import Message, TraceAsk, TraceDone

A = VmId("a")


@dataclass
class Kernel:
    go: asyncio.Event = field(default_factory=asyncio.Event)
    fails: Exception | None = None
    cleared: int = 0

    async def profile(self, vm_id: VmId, seconds: float) -> ExitProfile:
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        return ExitProfile(vm_id=vm_id, began_at=1.0, seconds=seconds, virtualization=Virtualization.SVM, reasons={})

    async def latency(self, vm_id: VmId, seconds: float) -> LatencyProfile:
        return LatencyProfile(vm_id=vm_id, began_at=1.0, seconds=seconds, disks=())

    async def clear(self) -> None:
        self.cleared += 1
        if self.fails is not None:
            raise self.fails


@dataclass
class Line:
    kernel: Kernel = field(default_factory=Kernel)
    said: list[TraceDone] = field(default_factory=list)
    lost: bool = False
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.traces = Traces(self.kernel, self.kernel, self.send)

    async def send(self, message: Message) -> None:
        if self.lost:
            raise OSError("the connection is gone")
        assert isinstance(message, TraceDone)
        self.said.append(message)
        self.more.set()

    async def told(self, number: int) -> list[TraceDone]:
        async with asyncio.timeout(5):
            while len(self.said) < number:
                await self.more.wait()
                self.more.clear()
        return self.said


async def test_each_is_answered(anyio_backend: str) -> None:
    line = Line()
    line.traces.ask(TraceAsk(request=4, vm_id=A, seconds=2.0))
    line.traces.ask(TraceAsk(request=5, vm_id=A, seconds=3.0))
    line.kernel.go.set()
    assert [(one.request, one.profile and one.profile.seconds, one.error) for one in await line.told(2)] == [(4, 2.0, None), (5, 3.0, None)]


async def test_disks_are_asked_for_in_the_same_way() -> None:
    line = Line()
    line.traces.ask(TraceAsk(request=1, vm_id=A, seconds=2.0, what="latency"))
    (one,) = await line.told(1)
    assert (one.profile, one.error, one.latency and one.latency.seconds) == (None, None, 2.0)


@pytest.mark.parametrize(("error", "code"), [(Conflict("no_vm_exits", "TCG"), "no_vm_exits"), (ZeroDivisionError("a bug"), "tracing_refused")])
async def test_a_refusal_is_an_answer(error: Exception, code: str) -> None:
    line = Line(Kernel(fails=error))
    line.kernel.go.set()
    line.traces.ask(TraceAsk(request=1, vm_id=A, seconds=1.0))
    (one,) = await line.told(1)
    assert (one.profile, one.error and one.error.code) == (None, code)


async def test_there_is_an_end_to_questions() -> None:
    line = Line()
    for number in range(TRACES_MAX + 1):
        line.traces.ask(TraceAsk(request=number, vm_id=A, seconds=1.0))
    refused = await line.told(1)
    assert refused[0].error is not None
    assert refused[0].error.code == "too_many_traces"
    await line.traces.close()
    assert all(one.error is not None for one in line.said), "they end with the connection"


async def test_an_answer_that_nobody_can_hear_harms_nothing() -> None:
    line = Line(lost=True)
    line.kernel.go.set()
    line.traces.ask(TraceAsk(request=1, vm_id=A, seconds=1.0))
    await asyncio.sleep(0.01)
    await line.traces.close()
    assert line.said == []


async def test_what_was_left_is_cleared_at_the_start_if_it_can_be() -> None:
    kernel = Kernel()
    await traces.clear(kernel)
    kernel.fails = Failed("tracing_refused", "busy")
    await traces.clear(kernel)
    assert kernel.cleared == 2
