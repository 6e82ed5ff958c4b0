"""What nothing needs is removed after a while, never at once."""

from houyi.agent.idle import Idle


class HandClock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_it_is_ripe_only_after_it_was_idle_for_the_whole_time() -> None:
    clock = HandClock()
    idle: Idle[str] = Idle(clock, 60)
    assert idle.ripe({"a", "b"}, {"b"}) == frozenset()
    clock.at = 59
    assert idle.ripe({"a", "b"}, {"b"}) == frozenset()
    clock.at = 60
    assert idle.ripe({"a", "b"}, {"b"}) == {"a"}


def test_being_needed_in_between_starts_the_time_anew() -> None:
    clock = HandClock()
    idle: Idle[str] = Idle(clock, 60)
    idle.ripe({"a"}, set())
    clock.at = 50
    assert idle.ripe({"a"}, {"a"}) == frozenset()
    clock.at = 61
    assert idle.ripe({"a"}, set()) == frozenset()
    clock.at = 121
    assert idle.ripe({"a"}, set()) == {"a"}


def test_what_is_gone_is_not_named() -> None:
    idle: Idle[str] = Idle(HandClock(), 0)
    assert idle.ripe({"a"}, set()) == {"a"}
    assert idle.ripe(set(), set()) == frozenset()
