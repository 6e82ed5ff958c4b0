"""The whole platform as its user runs it: `houyi up` and the CLI, as programs, on a private host on which nothing runs at first."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from websockets.sync.client import ClientConnection, connect

from house.tree import ROOT
from houyi.local.lab.birth import inside
from real.hosts import PrivateHost

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
API_PORT = 7480
API = f"127.0.0.1:{API_PORT}"

T = TypeVar("T")

KINDS = {
    "supervisor": re.compile(r"(-m houyi|bin/houyi) .*\bup\b"),
    "server": re.compile(r"(-m houyi|bin/houyi) server\b"),
    "agent": re.compile(r"(-m houyi|bin/houyi) agent\b"),
    "libvirtd": re.compile(r"^(\S*/)?libvirtd\b"),
    "virtlogd": re.compile(r"^(\S*/)?virtlogd\b"),
    "dnsmasq": re.compile(r"^(\S*/)?dnsmasq\b"),
    "qemu": re.compile(r"^(\S*/)?qemu-system"),
}
"""How processes are told apart by their command lines."""


class Platform:
    def __init__(self, host: PrivateHost) -> None:
        self.host = host
        self.state, self.run, self.log = (host.folder / "houyi" / name for name in ("state", "run", "log"))
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(host.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOUYI_STATE_DIR": str(self.state),
            "HOUYI_RUN_DIR": str(self.run),
            "HOUYI_LOG_DIR": str(self.log),
            "HOUYI_AGENT__TCG_TB_SIZE_MIB": "16",
            "HOUYI_SERVER__DISK_KEPT_MIB": "64",
        }

    def houyi(self, *words: str, code: int | None = 0, seconds: float = 240, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run the CLI on the host; `code` is the exit status that it must have (None: any), `said` its standard input."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        argv = inside(self.host.init_pid, "env", "-i", *environment, sys.executable, "-m", "houyi", *words)
        # Files, not pipes: what goes on in the background must not hold them open.
        (self.host.folder / "in").write_text(said)
        with (self.host.folder / "in").open() as into, (self.host.folder / "out").open("w+") as out, (self.host.folder / "err").open("w+") as err:
            done = subprocess.run(argv, stdin=into, stdout=out, stderr=err, timeout=seconds, check=False)
            texts = [file.seek(0) or file.read() for file in (out, err)]
        ended = subprocess.CompletedProcess(words, done.returncode, *texts)
        assert code is None or ended.returncode == code, f"houyi {' '.join(words)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}\n{self.logs()}"
        return ended

    def ask(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.houyi(*words, "-o", "json").stdout)

    def look(self, path: str) -> Any:
        """GET, without the CLI: a program started four times a second would take the processor away from the guest that it waits for.

        What the API answers; None if it refuses or is away.
        """
        connection = http.client.HTTPConnection(API)
        try:
            connection.sock = self.host.connect(API_PORT)
            connection.request("GET", path, headers=self._headers())
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return json.loads(content) if answer.status == 200 else None

    def stream(self, path: str) -> ClientConnection:
        """A websocket of the API."""
        return connect(f"ws://{API}{path}", sock=self.host.connect(API_PORT), additional_headers=self._headers(), proxy=None)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.state / 'admin.token').read_text().strip()}"}

    def ready_hosts(self) -> list[str]:
        found = self.look("/v1/hosts")
        return [host["name"] for host in found["items"] if host["state"] == "ready"] if found else []

    def processes(self) -> dict[int, str]:
        """pid (on the host) -> command line, of every process of the host except its first and what that starts."""
        found = {}
        for entry in Path(f"/proc/{self.host.init_pid}/root/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != 1:
                try:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                line = " ".join(words).strip()
                if line and not line.startswith("sleep "):
                    found[int(entry.name)] = line
        return found

    def pids(self, kind: str) -> tuple[int, ...]:
        return tuple(sorted(pid for pid, line in self.processes().items() if KINDS[kind].search(line)))

    def pid(self, kind: str) -> int:
        """Of the one process of that kind; libvirt's dnsmasq has a child of the same name, the first counts."""
        found = self.pids(kind)
        assert found, (kind, self.processes())
        return found[0]

    def kill(self, kind: str) -> int:
        """kill -9; returns who it was."""
        pid = self.pid(kind)
        self.host.inside("kill", "-9", str(pid))
        return pid

    def until(self, look: Callable[[], T], right: Callable[[T], bool] = bool, seconds: float = 60) -> T:
        end = time.monotonic() + seconds
        while True:
            seen = look()
            if right(seen):
                return seen
            assert time.monotonic() < end, f"still {seen!r} after {seconds} s\n{self.logs()}"
            time.sleep(0.25)

    def vm(self, name: str) -> dict[str, Any]:
        """{} while it cannot be seen."""
        found: dict[str, Any] = self.look(f"/v1/vms/{name}") or {}
        return found

    def vms(self) -> set[str]:
        return {vm["name"] for vm in self.look("/v1/vms")["items"]}

    def answers(self, name: str) -> bool:
        """Whether the guest is on and its agent has answered."""
        vm = self.vm(name)
        return vm.get("state") == "running" and vm.get("guest_agent") == "connected"

    def bridges(self) -> list[str]:
        return [link["ifname"] for link in json.loads(self.host.inside("ip", "-json", "link", "show", "type", "bridge"))]

    def rules(self) -> list[str]:
        """All of the firewall, tables that do nothing included (iptables-nft's are in it)."""
        found = json.loads(self.host.inside("nft", "--json", "list", "ruleset"))["nftables"]
        return [json.dumps(thing) for thing in found if "metainfo" not in thing]

    def forwarding(self) -> bool:
        return self.host.inside("cat", FORWARDING).strip() == "1"

    def mounts(self) -> list[str]:
        lines = Path(f"/proc/{self.host.init_pid}/mountinfo").read_text().splitlines()
        return sorted(line.split()[4] for line in lines)

    def logs(self) -> str:
        """The end of each log, for messages."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.log.glob("*.log")))


def platform() -> Iterator[Platform]:
    host = PrivateHost(daemons=False)
    try:
        os.makedirs(host.folder / "home", exist_ok=True)
        host.inside("sh", "-c", f"echo 0 > {FORWARDING}")  # as a new machine has it
        yield Platform(host)
    finally:
        host.close()
