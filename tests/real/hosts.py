"""A private host for tests: its own libvirtd and virtlogd in new network, mount and process namespaces, with private /run, /var/lib/libvirt ...

It stands on the first process of the lab's hosts. All its processes die with that, which dies with this one, however it ends (--pdeathsig, --kill-child).
What a killed run left is only a folder; the next run removes it, if the process that made it is gone. The machine's own libvirt is never touched.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import SocketType, create_connection, gethostname

import msgspec

from house.tree import ROOT as TREE
from houyi.base.config import AgentSettings, Settings
from houyi.host.disk.shared import MARKER
from houyi.local.lab.birth import NEW_NAMESPACES, inside
from houyi.local.lab.first import Bind, Orders, log_file, orders_file, ready_file
from houyi.local.lab.power import own_kvm
from leftovers import ROOM, own, remove_leftovers

PREFIX = "houyi-real-"
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


class PrivateHost:
    """`daemons=False`: a machine on which nothing runs yet."""

    def __init__(self, *, daemons: bool = True) -> None:
        remove_leftovers(PREFIX)
        self.folder = ROOM / f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self.folder.mkdir(mode=0o755)
        own(self.folder)
        for name in ("run/lock", "lib", "log/libvirt/qemu", "cache", "state", "tls"):
            (self.folder / name).mkdir(parents=True)
        shutil.copytree("/etc/libvirt", self.folder / "etc", symlinks=True, ignore=shutil.ignore_patterns("qemu"))  # not the machine's VMs and networks
        (self.folder / "etc/qemu.conf").write_text(f'migrate_tls_x509_cert_dir = "{self.tls}"\n')
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        orders_file(self.folder).write_bytes(msgspec.json.encode(self._orders()))
        argv = [*_WITH_US, *NEW_NAMESPACES, sys.executable, "-P", "-m", "houyi.local.lab.first", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": str(TREE / "src")}
        with log_file(self.folder).open("wb") as log:
            self._holder = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait(ready_file(self.folder).exists, "the namespaces")
            (self.init_pid,) = _children(self._holder.pid)
            if daemons:
                self.start_daemon("virtlogd", self.folder / "run/libvirt/virtlogd-sock")
                self.start_daemon("libvirtd", self.socket)
        except BaseException:
            self.close()
            raise

    def _orders(self) -> Orders:
        folders = {"run": "/run", "lib": "/var/lib/libvirt", "log": "/var/log", "cache": "/var/cache", "etc": "/etc/libvirt"}
        binds = [Bind(str(self.folder / name), seen_at) for name, seen_at in folders.items()]
        if own_kvm(self.folder):
            binds.append(Bind(str(self.folder / "kvm"), "/dev/kvm"))
        return Orders(hostname=gethostname(), binds=tuple(binds))

    @property
    def socket(self) -> Path:
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def tls(self) -> Path:
        """Where its QEMU looks for its credentials in moves."""
        return self.folder / "tls"

    @property
    def sysfs(self) -> Path:
        """/sys/class/net of the private network namespace."""
        return Path(f"/proc/{self.init_pid}/root/sys/class/net")

    def settings(self, name: str = "state") -> Settings:
        """Settings of an agent of this host; another `name` gives other folders."""
        shared = self.folder / "fast"
        if not shared.exists():
            shared.mkdir(mode=0o711)
            (shared / MARKER).write_text(f"{uuid.uuid4()}\n")
        agent = AgentSettings(libvirt_uri=self.uri, tcg_tb_size_mib=16, migration_tls_dir=self.tls, shared_dirs={"fast": shared})
        return Settings(state_dir=self.folder / name, run_dir=self.folder / name / "run", agent=agent)

    def start_daemon(self, name: str, socket: Path) -> None:
        socket.unlink(missing_ok=True)
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self._daemons[name] = subprocess.Popen(inside(self.init_pid, f"/usr/sbin/{name}"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait(lambda: socket.exists() or self._died(name), name)

    def _died(self, name: str) -> bool:
        if self._daemons[name].poll() is not None:
            raise RuntimeError(f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")
        return False

    def kill_libvirtd(self) -> None:
        """kill -9; QEMU and virtlogd go on."""
        process = self._daemons["libvirtd"]
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def start_libvirtd(self) -> None:
        self.start_daemon("libvirtd", self.socket)

    def inside(self, *argv: str, check: bool = True) -> str:
        """Run a program in the host's namespaces; its output."""
        done = subprocess.run(inside(self.init_pid, *argv), capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{argv}: {done.stderr}")
        return done.stdout

    def connect(self, port: int, seconds: float = 20) -> SocketType:
        """A connection to a port of the host's own 127.0.0.1, for this process.

        :raise OSError: nobody listens there.
        """
        # A socket stays in the network that its thread was in when it was made.
        with ThreadPoolExecutor(1, initializer=self._enter_network) as inside:
            return inside.submit(create_connection, ("127.0.0.1", port), seconds).result()

    def _enter_network(self) -> None:
        with Path(f"/proc/{self.init_pid}/ns/net").open() as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def qemu_pid(self, vm_id: str) -> int:
        """As this process numbers it."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"qemu-system" in words[0] and vm_id.encode() in words:
                    return int(entry.name)
        raise LookupError(vm_id)

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 30
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} of the private host did not come up")
            if self._holder.poll() is not None:
                raise RuntimeError(f"the namespaces could not be made: {log_file(self.folder).read_text()}")
            time.sleep(0.02)

    def close(self) -> None:
        """End every process of the host by ending its namespace; then remove its files."""
        for pid in _children(self._holder.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            self._holder.wait(10)  # it reaps the first process, and the kernel ends all others with that
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait(10)
        for process in self._daemons.values():
            process.kill()
            process.wait(10)
        for _ in range(50):  # mounts go with the last process, which may need a moment
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)
        print(f"could not remove {self.folder}", file=sys.stderr)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def join(one: PrivateHost, other: PrivateHost) -> tuple[str, str]:
    """A wire between two private hosts; their addresses on it."""
    namespaces = [f"/proc/{host.init_pid}/ns/net" for host in (one, other)]
    wire = ["ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", namespaces[1]]
    subprocess.run(["nsenter", f"--net={namespaces[0]}", *wire], check=True, timeout=10)
    addresses = ("10.99.0.1", "10.99.0.2")
    for host, address in zip((one, other), addresses, strict=True):
        host.inside("ip", "address", "add", f"{address}/24", "dev", "wire")
        host.inside("ip", "link", "set", "wire", "up")
    return addresses


@contextlib.contextmanager
def private_host() -> Iterator[PrivateHost]:
    host = PrivateHost()
    try:
        yield host
    finally:
        host.close()
