"""Time that stands still while there is work and jumps to the next timer when there is none: an hour of a platform's life takes seconds, and a seed replays it.

Nothing runs in threads: what is given to an executor is done on the spot. A standstill (nobody works, nobody waits for a time) is an error.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

BEGINNING = 1_800_000_000.0
"""Unix seconds at the loop's start."""


class _Jumping(selectors.BaseSelector):
    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0
        self.look: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.look is not None:
            self.look()
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the simulation has come to a standstill")
            self.now += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def watch(self, look: Callable[[], None] | None) -> None:
        """Have `look` called whenever everything that could go on has gone on by one step: nothing is between two looks but what happens at once."""
        self._jumping.look = look

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """The loop's own time as a Clock. `ahead`: seconds by which it shows too much; it may be set at any time."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return BEGINNING + self.ahead + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
