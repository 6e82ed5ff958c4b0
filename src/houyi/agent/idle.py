"""What nothing needs any more, and since when: removed only after a while, since the next VM often needs just that."""

from collections.abc import Hashable, Set
from typing import Generic, TypeVar

from houyi.base.clock import Clock

K = TypeVar("K", bound=Hashable)


class Idle(Generic[K]):
    """Told at each pass what is there and what of it is needed; remembers nothing beyond the process, so a restart only delays."""

    def __init__(self, clock: Clock, keep_seconds: float) -> None:
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._since: dict[K, float] = {}

    def ripe(self, there: Set[K], needed: Set[K]) -> frozenset[K]:
        """Those that have been idle for `keep_seconds`, at every look."""
        now = self._clock.monotonic()
        idle = set(there) - set(needed)
        self._since = {key: self._since.get(key, now) for key in idle}
        return frozenset(key for key, since in self._since.items() if now - since >= self._keep_seconds)
