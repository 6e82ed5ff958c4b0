"""The fault matrix: at each phase of a live move, each thing that can break. The guest never runs twice; when all is well again it runs in one place,
nothing of the move is left, and it can be moved."""

import asyncio
import os
from pathlib import Path

import pytest

from houyi.host.sim.net import Phase
from sim.fleet import FAULTS, go_without_proof, live_through
from sim.virtual import VirtualLoop

pytestmark = pytest.mark.usefixtures("quiet")
PHASES = [phase for phase in Phase if phase is not Phase.POSTCOPY]
ALL = [(phase, fault) for phase in PHASES for fault in FAULTS]
EVERY = int(os.environ.get("HOUYI_SIM_EVERY", "1"))
"""Every so many cells of the matrix: 1 is all of them, 17, prime to its width, comes by every phase."""


@pytest.mark.parametrize(("phase", "fault"), ALL[::EVERY])
def test_the_matrix(phase: Phase, fault: str, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, phase, FAULTS[fault]))


@pytest.mark.parametrize("phase", [Phase.LATE, Phase.FINISHED, Phase.CONFIRM])
@pytest.mark.parametrize("fault", ["source libvirtd dies", "source agent dies", "network cut"])
def test_a_paused_guest(phase: Phase, fault: str, memory: Path) -> None:
    """It shows less of where it is than one that ran until it was halted; it stays paused throughout."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, phase, FAULTS[fault], paused=True))


def test_the_watchman_catches_a_go_without_proof(memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(AssertionError, match="executes on"):
        runner.run(live_through(memory, Phase.FINISHED, go_without_proof))
