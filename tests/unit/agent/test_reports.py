"""What is still to be told: nothing is told twice, and what cannot be told waits, the newest first to be kept."""

from houyi.agent.reports import HAPPENINGS_MAX, Reports
from houyi.model.ids import VmId
from houyi.wire.agents import Happening


def happening(number: int) -> Happening:
    return Happening(vm_id=VmId("v"), kind="guest_reboot", detail=str(number), at=float(number))


async def test_what_could_not_be_sent_is_told_before_what_came_later() -> None:
    reports = Reports()
    reports.happened(happening(1))
    _, _, unsent = reports.take(everything=False)
    reports.happened(happening(2))
    reports.give_back(unsent)
    assert [one.detail for one in reports.take(everything=False)[2]] == ["1", "2"]
    assert reports.take(everything=False)[2] == ()


async def test_of_too_many_the_newest_are_kept() -> None:
    reports = Reports()
    for number in range(HAPPENINGS_MAX):
        reports.happened(happening(number))
    _, _, unsent = reports.take(everything=False)
    reports.happened(happening(HAPPENINGS_MAX))
    reports.give_back(unsent)
    told = reports.take(everything=False)[2]
    assert len(told) == HAPPENINGS_MAX
    assert told[-1] == happening(HAPPENINGS_MAX)
