"""A program is killed (-9) in the middle of a live move, at each of its phases: the guest goes on in one place, counting and without a wrong page, and soon
nothing else is left of the move.

HOUYI_KILL_CELLS=all runs every cell; without it those of SAMPLE. All cells of all faults are in tests/sim/test_fleet.py.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.labs import Lab, lab
from real.page_writer import rate
from real.writers import bring_image, create, files, goes_on, home, qemus, type_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

NAME = "own"
HOSTS = ("h1", "h2")
PHASES = ("preparing", "copying", "finishing")
VICTIMS = {
    "server": (b"houyi", b"server"),
    "source agent": (b"houyi", b"agent"),
    "destination agent": (b"houyi", b"agent"),
    "source libvirtd": (b"libvirtd",),
    "destination libvirtd": (b"libvirtd",),
    "destination QEMU": (b"qemu-system",),
}
CELLS = [(victim, phase) for victim in VICTIMS for phase in PHASES if victim != "destination QEMU" or phase == "copying"]
"""Before the copying it has no QEMU, and after it that QEMU is the guest's."""
SAMPLE = [("source agent", "copying"), ("destination libvirtd", "copying"), ("destination QEMU", "copying"), ("server", "finishing")]
LEFT_SECONDS = 60.0


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with lab() as found:
        found.houyi("lab", "up", "--hosts", "2", "--memory", "1G")
        bring_image(found)
        create(found, NAME)
        goes_on(found, NAME, 1)
        type_in(found, NAME, rate(8.0))
        yield found


def pids(found: Lab, host: str, words: tuple[bytes, ...]) -> list[int]:
    """As the machine numbers them. On any host: ''."""
    here = found.on(host, "readlink", "/proc/1/ns/pid").strip() if host else ""
    return [pid for pid in found.inhabitants() if (not host or os.readlink(f"/proc/{pid}/ns/pid") == here) and is_one(pid, words)]


def is_one(pid: int, words: tuple[bytes, ...]) -> bool:
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if words[0] != b"houyi":
        return Path(os.fsdecode(argv[0])).name.encode().startswith(words[0])
    return words[0] in argv and argv[argv.index(words[0]) :][1:2] == [words[1]]


def at(found: Lab) -> str:
    """The phase of the newest move; '' while the server does not answer."""
    known = [move for move in found.get("migrations").get("items", ()) if move["vm_name"] == NAME]
    if not known:
        return ""
    sent = (known[-1]["figures"] or {}).get("memory_sent_mib")
    return "copying" if known[-1]["state"] == "moving" and sent else str(known[-1]["state"])


@pytest.mark.parametrize(("victim", "phase"), CELLS if os.environ.get("HOUYI_KILL_CELLS") == "all" else SAMPLE)
def test_a_move_outlives_a_killed_program(made: Lab, victim: str, phase: str) -> None:
    source, before, started = home(made, NAME), goes_on(made, NAME, 0), made.vm(NAME)["started_at"]
    (destination,) = set(HOSTS) - {source}
    host = {"source": source, "destination": destination}.get(victim.split()[0], "")
    doomed = [] if "QEMU" in victim else pids(made, host, VICTIMS[victim])
    made.houyi("vm", "migrate", NAME, "--no-wait", *(["--bandwidth-mib-s", "16"] if phase == "copying" else []))
    end = time.monotonic() + 60
    while (seen := at(made)) not in (phase, "done", "failed"):
        assert time.monotonic() < end, seen
        time.sleep(0.01)
    for pid in doomed or pids(made, host, VICTIMS[victim]):
        os.kill(pid, signal.SIGKILL)
    print(f"{victim} killed at {seen}")
    ended = made.until(lambda: at(made), lambda state: state in ("done", "failed", "cancelled"), 150)
    print(f"then {ended}")
    assert home(made, NAME) == (destination if ended == "done" else source)
    vm = made.until(lambda: made.vm(NAME), lambda found: found.get("state") == "running", LEFT_SECONDS)
    goes_on(made, NAME, before + 2)
    assert vm["started_at"] == started, "it was started anew"
    for each in HOSTS:
        made.until(lambda each=each: files(made, each), lambda left, each=each: left == ([vm["id"]] if each == home(made, NAME) else []), LEFT_SECONDS)
    assert qemus(made) == 1
