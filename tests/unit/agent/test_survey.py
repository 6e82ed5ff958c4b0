"""The agent tells of the machine what is news, and everything to a server that has just been reached."""

from dataclasses import replace

import pytest

from houyi.agent.reports import Reports
from houyi.agent.survey import LOOK_SECONDS, Survey
from houyi.host.sim import SimHost
from houyi.wire.agents import Report, decode_up, encode
from made import some_traits
from sim.virtual import VirtualClock


async def test_only_news_is_told() -> None:
    sim, reports = SimHost(VirtualClock()), Reports()
    survey = Survey(sim.ports().probe, reports, VirtualClock())
    assert reports.traits.take(everything=True) is None
    sim.traits = some_traits()
    await survey.turn()
    assert reports.news.is_set()
    assert reports.traits.take(everything=False) == sim.traits
    reports.take(everything=False)
    await survey.turn()
    assert not reports.news.is_set(), "the same again is no news"
    assert reports.traits.take(everything=False) is None
    assert reports.traits.take(everything=True) == sim.traits, "a complete report has it again"
    sim.traits = some_traits(thp="madvise")
    await survey.turn()
    assert reports.traits.take(everything=False) == sim.traits


async def test_a_look_that_fails_is_tried_again() -> None:
    class Broken:
        looks = 0

        async def traits(self) -> object:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("a driver that is broken")
            return some_traits()

    class Ends(Exception):
        pass

    slept: list[float] = []

    class Clock(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                raise Ends

    probe, reports, clock = Broken(), Reports(), Clock()
    with pytest.raises(Ends):
        await Survey(probe, reports, clock).run()  # type: ignore[arg-type]
    assert slept == [LOOK_SECONDS] * 2
    assert reports.traits.take(everything=False) == some_traits()


async def test_it_travels_whole() -> None:
    sim = SimHost(VirtualClock())
    load = await sim.ports().probe.load()
    sent = Report(serial=1, load=load, traits=some_traits())
    assert decode_up(encode(sent)) == sent
    assert decode_up(encode(replace_traits(sent))) != sent


def replace_traits(report: Report) -> Report:
    assert report.traits is not None
    return Report(serial=report.serial, load=report.load, traits=replace(report.traits, unknown={}))
