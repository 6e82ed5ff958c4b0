"""Random lives of fleets whose VMs move, each replayable from its seed: `HOUYI_SIM_SEEDS=1000 pytest -n 2 tests/sim/test_roaming.py` for a longer look.

`raid`: one VM that is moved again and again, each time into a fault; `roam`: users, drains, guests and faults on a fleet in which room is scarce.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.bugs import BUGS
from sim.roaming import raid, roam
from sim.virtual import VirtualLoop

pytestmark = pytest.mark.usefixtures("quiet")
SEEDS = int(os.environ.get("HOUYI_SIM_SEEDS", "0"))
FIRST = int(os.environ.get("HOUYI_SIM_FIRST", "0"))
RAIDS, ROAMS = range(FIRST, FIRST + (SEEDS or 8)), range(FIRST, FIRST + (SEEDS or 2))
BUG_SEEDS = 6
"""Within so many seeds each planted bug is caught."""


@pytest.mark.parametrize("seed", RAIDS)
def test_raid(seed: int, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(raid(seed, memory))


@pytest.mark.parametrize("seed", ROAMS)
def test_roam(seed: int, memory: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(roam(seed, memory))


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_and_its_seed_named(bug: str, memory: Path) -> None:
    build, hunt = BUGS[bug]
    for seed in range(BUG_SEEDS):
        folder = memory / str(seed)
        folder.mkdir()
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(raid(seed, folder, build, hunt))
        except AssertionError as error:
            told = str(error)
            break
    else:
        pytest.fail(f"not caught within {BUG_SEEDS} seeds")
    assert f"HOUYI_SIM_FIRST={seed} HOUYI_SIM_SEEDS=1 pytest tests/sim/test_roaming.py -k raid" in told
    assert "executes on host-0 and host-1" in told or "lives ago" in told


@pytest.mark.parametrize("bug", BUGS)
def test_and_where_there_is_none_nothing_is(bug: str, memory: Path) -> None:
    """The same faults on the platform as it is."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(raid(0, memory, None, BUGS[bug][1]))


REPLAY = """
import asyncio, logging, sys
from pathlib import Path
import structlog
from sim.roaming import roam
from sim.virtual import VirtualLoop
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
with asyncio.Runner(loop_factory=VirtualLoop) as runner:
    print("\\n".join(runner.run(roam(1, Path(sys.argv[1]), events=15)).acts))
"""


def test_a_seed_gives_the_same_life_in_every_process(memory: Path) -> None:
    """Whatever the order in which Python's sets of strings are, which differs from process to process."""
    stories = []
    for number in ("1", "2"):
        folder = memory / number
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": os.pathsep.join(sys.path)}
        stories.append(subprocess.run([sys.executable, "-c", REPLAY, folder], env=environment, capture_output=True, text=True, check=True).stdout)
    assert stories[0].count("\n") > 15
    assert stories[0] == stories[1]
