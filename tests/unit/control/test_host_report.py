"""What a host says that it can do is kept if it is news and may be one, and is shown with what it means."""

import math
from dataclasses import replace

import pytest

from desk import Desk
from houyi.control.commands.host import remove_host
from houyi.control.intake.host_report import DOC_BYTES_MAX, take_traits
from houyi.model.errors import NotFound
from houyi.model.host_report import HostTraits
from houyi.model.ids import HostId
from houyi.store.views.host_report import get_report, report_of
from made import new_id, some_traits


async def told(desk: Desk) -> tuple[HostTraits, float] | None:
    found = await desk.store.read(lambda c: report_of(c, desk.host_id))
    return None if found is None else (found.traits, found.at)


async def test_news_is_kept(desk: Desk) -> None:
    with pytest.raises(NotFound) as none:
        await desk.store.read(lambda c: get_report(c, desk.host_id))
    assert none.value.code == "host_report_not_found"
    begin = desk.clock.at
    await take_traits(desk.control, desk.host_id, some_traits())
    assert await told(desk) == (some_traits(), begin)
    desk.clock.at += 60.0
    before = desk.store.revision
    await take_traits(desk.control, desk.host_id, some_traits())
    assert desk.store.revision == before
    assert await told(desk) == (some_traits(), begin), "the same again is not written"
    await take_traits(desk.control, desk.host_id, some_traits(thp="madvise"))
    assert await told(desk) == (some_traits(thp="madvise"), begin + 60.0)


async def test_what_can_be_no_report_is_dropped(desk: Desk) -> None:
    sound = some_traits()
    await take_traits(desk.control, desk.host_id, replace(sound, unknown={"x": "y" * DOC_BYTES_MAX}))
    await take_traits(desk.control, desk.host_id, replace(sound, accelerator=replace(sound.accelerator, loop_ns=math.nan)))
    assert await told(desk) is None
    await take_traits(desk.control, HostId(new_id()), sound)
    assert await told(desk) is None, "of a host that was removed meanwhile"


async def test_it_goes_with_its_host(desk: Desk) -> None:
    await take_traits(desk.control, desk.host_id, some_traits())
    await remove_host(desk.control, desk.me, desk.host_id, lost=False, expected=None)
    assert await told(desk) is None
