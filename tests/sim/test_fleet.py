"""The fault matrix: at each phase of a move, each thing that can break, one or two at a time. The guest never runs twice and never begins anew from an old disk;
when all is well again it runs in one place, nothing of the move is left, and it can be moved."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from houyi.host.sim.net import Phase
from sim.faults import CROWD, DOUBLE, FAULTS, HANDOVER, WORDS, Fault
from sim.fleet import PREPARING, Scene, When, live_through
from sim.virtual import VirtualLoop
from sim.world import Build

pytestmark = pytest.mark.usefixtures("quiet")
LIVE = [phase for phase in Phase if phase is not Phase.POSTCOPY]
POSTCOPY = [phase for phase in Phase if phase is not Phase.LATE]
SCENES = {"live": Scene(), "post-copy": Scene(postcopy=True), "crowd": Scene(build=Build(hosts=3, servers=2))}
TABLES: tuple[tuple[str, Sequence[When], Mapping[str, Fault]], ...] = (
    ("live", [PREPARING], {**FAULTS, **DOUBLE, **WORDS}),
    ("live", LIVE, DOUBLE),
    ("live", LIVE, WORDS),
    ("live", LIVE, HANDOVER),
    ("post-copy", POSTCOPY, {**FAULTS, **WORDS}),
    ("crowd", [PREPARING, *LIVE], CROWD),
)
SINGLE = [("live", phase, name, fault) for phase in LIVE for name, fault in FAULTS.items()]
MORE = [(scene, phase, name, fault) for scene, phases, faults in TABLES for phase in phases for name, fault in faults.items()]
EVERY = int(os.environ.get("HOUYI_SIM_EVERY", "7"))
"""Every so many cells of MORE, 1 is all of them; SINGLE, one fault in a plain live move, is always tried whole."""


@pytest.mark.parametrize(("scene", "when", "fault"), [pytest.param(s, w, f, id=f"{s}-{w}-{name}") for s, w, name, f in [*SINGLE, *MORE[::EVERY]]])
def test_the_matrix(scene: str, when: When, fault: Fault, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, SCENES[scene], when, fault))


@pytest.mark.parametrize("phase", [Phase.LATE, Phase.FINISHED, Phase.TOLD, Phase.CONFIRM])
@pytest.mark.parametrize(
    "fault",
    ["source libvirtd dies", "source libvirtd blinks, destination slow", "source libvirtd blinks, destination unheard", "source agent dies", "network cut"],
)
def test_a_paused_guest(phase: Phase, fault: str, memory: Path) -> None:
    """It shows less of where it is than one that ran until it was halted; it stays paused throughout."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live_through(memory, Scene(paused=True), phase, {**FAULTS, **HANDOVER}[fault]))
