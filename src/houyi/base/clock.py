"""Time, injected: the simulator moves it by hand."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """`now` is Unix seconds (wall), `monotonic` is for durations, `sleep` waits."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real one."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
