"""Credit-based flow control: who sends takes, who has consumed gives back. A slow reader then bounds what is in flight, on both sides."""

import asyncio


class Credit:
    """`take` waits until at least one unit is free and returns how many of the wanted ones may be sent now."""

    def __init__(self, window: int) -> None:
        self._free = window
        self._given = asyncio.Event()
        self._given.set()

    async def take(self, wanted: int) -> int:
        while self._free <= 0:
            self._given.clear()
            await self._given.wait()
        taken = min(wanted, self._free)
        self._free -= taken
        return taken

    def give(self, amount: int) -> None:
        self._free += amount
        self._given.set()
