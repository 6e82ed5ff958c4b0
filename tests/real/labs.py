"""`houyi lab` as its user runs it: the command, from the machine, with labs in a folder of this test run's own.

A lab outlives whoever started it; what a killed run left is ended and removed by the next one.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from house.tree import ROOT
from leftovers import birth, own, remove_leftovers

T = TypeVar("T")

ROOM = Path("/var/tmp")
"""As the default folder of labs it is below /var, of which every host has its own."""
PREFIX = "houyi-lab-"
LEASE_SECONDS = 6
_NAMESPACES = ("pid", "net", "mnt", "uts")
_numbers = itertools.count()
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Lab:
    def __init__(self, name: str = "lab") -> None:
        self.name = name
        self.room = ROOM / f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self.room.mkdir()
        own(self.room)
        self.labs = self.room / "labs"
        self.folder = self.labs / name
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.room / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOUYI_LAB": name,
            "HOUYI_LAB_DIR": str(self.labs),
            "HOUYI_STATE_DIR": str(self.room / "none"),
            "HOUYI_AGENT__TCG_TB_SIZE_MIB": "16",
            "HOUYI_AGENT__HEARTBEAT_SECONDS": "1",
            "HOUYI_SERVER__LEASE_SECONDS": str(LEASE_SECONDS),
            "HOUYI_SERVER__DISK_KEPT_MIB": "64",
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "houyi", *words]

    def houyi(self, *words: str, code: int | None = 0, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """`code` is the exit status that it must have (None: any)."""
        # Files, not pipes: what goes on in the background must not hold them open.
        with (self.room / "out").open("w+") as out, (self.room / "err").open("w+") as err:
            done = subprocess.run(
                self.argv(*words), env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=seconds, check=False, cwd=self.room
            )
            texts = [file.seek(0) or file.read() for file in (out, err)]
        ended = subprocess.CompletedProcess(words, done.returncode, *texts)
        assert code is None or ended.returncode == code, f"houyi {' '.join(words)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}\n{self.logs()}"
        return ended

    def ask(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.houyi(*words, "-o", "json").stdout)

    def get(self, where: str) -> Any:
        """What the API answers; {} while it does not or says no. Without a process, since tests look often."""
        login = json.loads((self.folder / "login.json").read_text())
        request = urllib.request.Request(f"{login['url']}/v1/{where}", headers={"Authorization": f"Bearer {login['token']}"})
        try:
            with contextlib.closing(_DIRECT.open(request, timeout=10)) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def vm(self, name: str) -> dict[str, Any]:
        return dict(self.get(f"vms/{name}"))

    def states(self) -> dict[str, str]:
        """Host -> state, as the platform has it; nothing while its server does not answer."""
        return {host["name"]: host["state"] for host in self.get("hosts").get("items", ())}

    def host(self, name: str) -> dict[str, Any]:
        """As the lab has it."""
        return next(host for host in self.ask("lab", "status")["hosts"] if host["name"] == name)

    def on(self, host: str, *argv: str, code: int | None = 0) -> str:
        """What a program on a host prints."""
        return self.houyi("lab", "exec", host, "--", *argv, code=code).stdout

    def until(self, look: Callable[[], T], right: Callable[[T], bool] = bool, seconds: float = 60) -> T:
        end = time.monotonic() + seconds
        while True:
            seen = look()
            if right(seen):
                return seen
            assert time.monotonic() < end, f"still {seen!r} after {seconds} s\n{self.logs()}"
            time.sleep(0.25)

    def first_pid(self) -> int:
        """Of the lab's first process, as the machine numbers it."""
        return int(json.loads((self.folder / "first.pid").read_text())["pid"])

    def inhabitants(self) -> dict[int, str]:
        """Every process of the lab, as the machine numbers it -> when it was born. All are in pid namespaces below the lab's."""
        machine = os.readlink("/proc/self/ns/pid")
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(entry / "ns/pid") != machine:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        found = {self.first_pid()}
        while grown := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= grown
        return {pid: birth(pid) for pid in found}

    def namespaces(self) -> set[str]:
        """All that its processes live in, without the machine's."""
        links = set()
        for pid in self.inhabitants():
            for kind in _NAMESPACES:
                with contextlib.suppress(OSError):
                    links.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        return links - {os.readlink(f"/proc/self/ns/{kind}") for kind in _NAMESPACES}

    def logs(self) -> str:
        """The end of each log, for messages."""
        paths = [*self.folder.glob("*.log"), *self.folder.glob("server/log/*.log"), *self.folder.glob("hosts/*/var/log/houyi/*.log")]
        return "\n".join(f"--- {path.relative_to(self.labs)}\n{path.read_text(errors='replace')[-2000:]}" for path in sorted(paths))

    def close(self) -> None:
        self.houyi("lab", "down", code=None)
        shutil.rmtree(self.room, ignore_errors=True)


def end_labs(room: Path) -> None:
    for found in (room / "labs").glob("*"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOUYI_LAB_DIR": str(room / "labs"), "HOUYI_LAB": found.name}
        subprocess.run([sys.executable, "-P", "-m", "houyi", "lab", "down"], env=environment, check=False, timeout=60)


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    remove_leftovers(PREFIX, ROOM, end_labs)
    made = Lab()
    try:
        yield made
    finally:
        made.close()


def machine() -> dict[str, Any]:
    """What of the machine itself a lab must leave as it is. Not what a platform on the machine, which may be at work there, makes for its own VMs."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True, timeout=20).stdout)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    return {
        "links": sorted(link["ifname"] for link in links if not link["ifname"].startswith(("hy-", "vnet", "virbr"))),
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "tables": [table for table in tables if not re.fullmatch(r"table ip6? (filter|nat|mangle|raw|libvirt_network)", table)],
        "kvm": oct(Path("/dev/kvm").stat().st_mode) if Path("/dev/kvm").exists() else "",
    }


def alive(known: dict[int, str]) -> list[int]:
    """Which of these processes live still."""
    return [pid for pid, born in known.items() if born and birth(pid) == born]


def lived_in(namespaces: set[str]) -> list[str]:
    """Processes that live in one of these namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        for kind in _NAMESPACES:
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns" / kind) in namespaces:
                    found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
    return found
