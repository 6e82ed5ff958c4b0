"""A program is killed (-9) in the middle of a live move, in each of its phases: the guest goes on in one place, counting and without a wrong page, and soon
nothing else is left of the move.

The move waits in its phase until the program is dead (`real/held`; while it copies, its QEMU is stopped), so each cell is what it says. HOUYI_KILL_CELLS=all runs
every cell; without it those of SAMPLE. All cells of all faults are in tests/sim/test_fleet.py.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.tree import ROOT
from real.labs import Lab, lab
from real.page_writer import rate
from real.writers import bring_image, create, files, goes_on, home, last, qemus, type_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

NAME = "own"
HOSTS = ("h1", "h2")
VICTIMS = {
    "server": (b"houyi", b"server"),
    "source agent": (b"houyi", b"agent"),
    "destination agent": (b"houyi", b"agent"),
    "source libvirtd": (b"libvirtd",),
    "destination libvirtd": (b"libvirtd",),
    "source QEMU": (b"qemu-system",),
    "destination QEMU": (b"qemu-system",),
}
PHASES = {
    "preparing": "the destination has everything ready, and is about to open its door",
    "beginning": "the source's libvirtd has begun, and knocks at the destination's",
    "copying": "libvirt has begun to send its disk and its memory, and QEMU is at it",
    "finish": "all is sent, the guest is stopped; the destination's libvirtd is about to be asked to finish",
    "finished": "it has finished; its answer is on the line",
    "switch-over": "the source's libvirtd has the answer, and gives its guest up; GO is about to be sent",
    "going": "GO has been received, and nothing done yet",
    "finishing": "its home is the destination; what has come is running, and the door about to be shut",
}
HAS_QEMU = {"source QEMU": list(PHASES)[:6], "destination QEMU": list(PHASES)[2:]}
CELLS = [(victim, phase) for phase in PHASES for victim in VICTIMS if phase in HAS_QEMU.get(victim, PHASES)]
"""In this order nobody dies twice in a row, which his supervisor would answer by a long wait."""
SAMPLE = [
    ("destination agent", "preparing"),
    ("source agent", "beginning"),
    ("destination QEMU", "copying"),
    ("destination libvirtd", "finish"),
    ("source QEMU", "finished"),
    ("source libvirtd", "switch-over"),
    ("source agent", "switch-over"),
    ("destination agent", "going"),
    ("server", "finishing"),
]
"""Every victim and every phase."""
CAP_MIB_S = 16
BEGUN_SECONDS = 0.25
"""From the answer that the destination is ready until the source's QEMU has been told to send; at this cap, sending takes far longer."""
LEFT_SECONDS = 60.0


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with lab() as found:
        found.environment["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests/real/held")))
        found.houyi("lab", "up", "--hosts", "2", "--memory", "1G")
        held(found).mkdir()
        bring_image(found)
        create(found, NAME)
        goes_on(found, NAME, 1)
        type_in(found, NAME, rate(8.0))
        yield found


def held(found: Lab) -> Path:
    return found.folder / "shared/held"


@contextlib.contextmanager
def holding(found: Lab, phase: str) -> Iterator[Path]:
    """The next move waits when it has come to this phase, until the end of this. :return: what is there as soon as it has."""
    wanted, reached = held(found) / phase, held(found) / f"{phase}.reached"
    reached.unlink(missing_ok=True)
    wanted.touch()
    try:
        yield reached
    finally:
        wanted.unlink(missing_ok=True)


def pids(found: Lab, host: str, words: tuple[bytes, ...]) -> list[int]:
    """As the machine numbers them. On any host: ''."""
    here = found.on(host, "readlink", "/proc/1/ns/pid").strip() if host else ""
    return [pid for pid in found.inhabitants() if (not host or os.readlink(f"/proc/{pid}/ns/pid") == here) and is_one(pid, words)]


def is_one(pid: int, words: tuple[bytes, ...]) -> bool:
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if words[0] != b"houyi":
        return Path(os.fsdecode(argv[0])).name.encode().startswith(words[0])
    return words[0] in argv and argv[argv.index(words[0]) :][1:2] == [words[1]]


def newest(found: Lab) -> dict[str, object]:
    """The last move; nothing while the server does not answer."""
    known = [move for move in found.get("migrations").get("items", ()) if move["vm_name"] == NAME]
    return known[-1] if known else {}


def kill_at(found: Lab, victim: str, phase: str, host: str) -> None:
    """Move it, and when it is in this phase, kill; the move goes on when that is done."""
    doomed = [] if victim == "destination QEMU" else pids(found, host, VICTIMS[victim])
    giving = pids(found, "", VICTIMS["source QEMU"])
    with holding(found, phase) as reached, holding(found, "finish" if phase == "copying" else phase) as finish:
        found.houyi("vm", "migrate", NAME, "--no-wait", *(["--bandwidth-mib-s", str(CAP_MIB_S)] if phase == "copying" else []))
        end = time.monotonic() + 60
        while not reached.exists():
            assert time.monotonic() < end, f"it never came to {phase}\n{newest(found)}\n{found.logs()}"
            time.sleep(0.001)
        if phase == "copying":
            time.sleep(BEGUN_SECONDS)
            signal_all(giving, signal.SIGSTOP)
        doomed = doomed or pids(found, host, VICTIMS[victim])
        assert doomed, f"there is no {victim}"
        had = [pid for pid in giving if Path(f"/proc/{pid}").exists()]
        missed = phase == "copying" and finish.exists()
        signal_all(doomed, signal.SIGKILL)
        signal_all([pid for pid in had if pid not in doomed], signal.SIGCONT)
    assert not missed, "it had been copied already"
    if phase == "switch-over" and victim.startswith("source"):
        assert had == giving, "its libvirtd had given it up already"


def signal_all(doomed: list[int], number: signal.Signals) -> None:
    for pid in doomed:
        os.kill(pid, number)


@pytest.mark.parametrize(("victim", "phase"), CELLS if os.environ.get("HOUYI_KILL_CELLS") == "all" else SAMPLE)
def test_a_move_outlives_a_killed_program(made: Lab, victim: str, phase: str) -> None:
    source, before, started = home(made, NAME), goes_on(made, NAME, 0), made.vm(NAME)["started_at"]
    (destination,) = set(HOSTS) - {source}
    began = time.monotonic()
    kill_at(made, victim, phase, {"source": source, "destination": destination}.get(victim.split()[0], ""))
    ended = made.until(lambda: str(newest(made).get("state")), lambda state: state in ("done", "failed", "cancelled"), 150)
    print(f"{victim} killed at {phase}: {ended} after {time.monotonic() - began:.1f} s, {newest(made).get('error')}")
    assert home(made, NAME) == (destination if ended == "done" else source)
    lost = victim == ("destination QEMU" if ended == "done" else "source QEMU")  # the only one that had the guest whole
    vm = made.until(lambda: made.vm(NAME), lambda found: found.get("state") == "running" and (not lost or found["started_at"] != started), LEFT_SECONDS)
    if lost:
        type_in(made, NAME, rate(8.0))
    else:
        assert vm["started_at"] == started, f"it was started anew\n{why(made)}"
        assert last(made, NAME)[0] >= before
    counts_on(made)
    for each in HOSTS:
        made.until(lambda each=each: files(made, each), lambda left, each=each: left == ([vm["id"]] if each == home(made, NAME) else []), LEFT_SECONDS)
    assert qemus(made) == 1
    assert made.vm(NAME)["started_at"] == vm["started_at"], f"it was started anew a little later\n{why(made)}"


def why(found: Lab) -> str:
    """What the platform and each host's QEMU have said last."""
    events = [f"{one['at']} {one['kind']} {one['target_name']} {one['detail']}" for one in found.get("events").get("items", ())[-20:]]
    logs = [file for host in HOSTS for file in (found.folder / "hosts" / host / "var/log/libvirt/qemu").glob("*.log")]
    return "\n".join([*events, *(f"--- {file}\n{file.read_text()[-2000:]}" for file in logs), found.logs()])


def counts_on(found: Lab) -> None:
    for _ in range(3):
        before = last(found, NAME)
        found.until(lambda before=before: last(found, NAME), lambda now, before=before: now != before and now[2] == 0, 90)
