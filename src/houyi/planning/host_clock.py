"""How far a host's clock is from ours, found from what it says at each heartbeat. Pure."""

from collections import deque

WINDOW_SECONDS = 60.0
"""Within it at least one word is as fast as they get; and a clock that was set back is found out after it."""
_SECONDS_MAX = 1e11
"""The year 5138; what is beyond it, or no number at all, is no time."""


class HostClock:
    """What a word takes to arrive makes a clock seem to be behind, never ahead: of the last minute's, the one that says most is the nearest to the truth."""

    def __init__(self) -> None:
        self._ahead: deque[tuple[float, float]] = deque()
        """(when it was heard, seconds ahead), each more than those after it: the first is the most."""

    def heard(self, said_at: float, now: float) -> float | None:
        """:param said_at: Unix seconds of the host's clock. :param now: of ours. :return: seconds that it is ahead of ours; None: not known."""
        if 0.0 < said_at < _SECONDS_MAX:
            ahead = said_at - now
            while self._ahead and self._ahead[-1][1] <= ahead:
                self._ahead.pop()
            self._ahead.append((now, ahead))
        while self._ahead and now - self._ahead[0][0] > WINDOW_SECONDS:
            self._ahead.popleft()
        return self._ahead[0][1] if self._ahead else None
