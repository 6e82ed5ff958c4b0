"""VMs on a folder that hosts share: they move without their disks, which no end of a move ever removes, whatever breaks."""

import asyncio
from pathlib import Path

import pytest

from houyi.host.sim.net import Phase
from houyi.model.migration import ENDED, MigrationState
from sim.faults import FAULTS, Ends
from sim.fleet import Scene, live_through
from sim.virtual import VirtualLoop

pytestmark = pytest.mark.usefixtures("quiet")

SOME = [
    (Phase.BEGIN, "destination disk full"),
    (Phase.EARLY, "network black hole"),
    (Phase.LATE, "source loses power"),
    (Phase.FINISHED, "destination agent dies"),
]


def nothing(_ends: Ends, _vm_id: str) -> None:
    pass


def test_it_moves_and_its_disk_stays(memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(live_through(memory, Scene(), Phase.LATE, nothing, storage="fast")) is MigrationState.DONE


@pytest.mark.parametrize(("phase", "fault"), SOME)
def test_whatever_breaks_the_disk_stays(phase: Phase, fault: str, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(live_through(memory, Scene(), phase, FAULTS[fault], storage="fast")) in ENDED
