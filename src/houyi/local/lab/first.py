"""The first process of a lab or of a host: makes what its namespaces need, starts one program if it is told to, and from then on reaps.

The kernel ends every process of a pid namespace when its first process ends: that is a host's power cord, and a lab's. Run by
`unshare --pid --mount --uts --fork`, as `python -m houyi.local.lab.first FOLDER`; FOLDER/first.json says what to do.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import uuid
from pathlib import Path

import msgspec

from houyi.host.shell import start
from houyi.local.processes import Known, look_up
from houyi.model.errors import Failed

CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC = 4096, 16384
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CGROUPS = Path("/sys/fs/cgroup")


class Bind(msgspec.Struct, frozen=True):
    """`source` (a folder, a file) is seen at `target`, which has to be there."""

    source: str
    target: str


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """`binds` are made in this order. `empty`: a folder whose content does not survive a power cut. `listen`: a TCP port on the *outer* network's
    loopback; the socket's number is appended to `then`. `boot_id`: whether it has one of its own, new at each start."""

    hostname: str
    binds: tuple[Bind, ...] = ()
    empty: str = ""
    listen: int = 0
    boot_id: bool = False
    then: tuple[str, ...] = ()


def orders_file(folder: Path) -> Path:
    return folder / "first.json"


def born_file(folder: Path) -> Path:
    """Who the first process is (a PidFile), numbered as its maker sees it; written before anything else is done."""
    return folder / "first.pid"


def ready_file(folder: Path) -> Path:
    """The same, once everything is made."""
    return folder / "first.ready"


def boot_id_file(folder: Path) -> Path:
    """What its /proc/sys/kernel/random/boot_id says, if it has one of its own."""
    return folder / "boot_id"


def log_file(folder: Path) -> Path:
    return folder / "first.log"


def main(folder: Path) -> None:
    """Until it is killed, or its program ends."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a host's own /var may soon hide the path
    lock = os.open(folder / "first.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two of one folder would fight; the kernel lets go of it when we end
    known = look_up(int(Path("/proc/self").readlink().name))  # /proc is still our maker's
    _write(here, born_file(folder), known)
    orders = msgspec.json.decode(orders_file(folder).read_bytes(), type=Orders)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
    then = list(orders.then)
    if orders.listen:
        listener = socket.create_server(("127.0.0.1", orders.listen))
        listener.set_inheritable(True)
        then.append(str(listener.fileno()))
    _call("unshare", CLONE_NEWNET)
    socket.sethostname(orders.hostname)
    _loopback_up()
    _mount_all(folder, orders)
    program = start(then, log=log_file(folder)).pid if then else 0
    _write(here, ready_file(folder), known)
    _reap_until_the_end(program)


def _reap_until_the_end(program: int) -> None:
    while True:
        if signal.sigwait((signal.SIGCHLD, signal.SIGTERM)) == signal.SIGTERM:
            return
        while True:  # one signal may stand for several ends
            try:
                pid = os.waitpid(-1, os.WNOHANG)[0]
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == program:
                return


def _mount_all(folder: Path, orders: Orders) -> None:
    if CGROUPS.is_dir():
        _call("umount2", os.fsencode(CGROUPS), MNT_DETACH, harmless=True)  # libvirt sees none, and leaves the machine's alone
    _call("mount", b"sysfs", b"/sys", b"sysfs", 0, None)  # of the new network namespace
    _call("mount", b"proc", b"/proc", b"proc", 0, None)
    if orders.boot_id:
        own = boot_id_file(folder)
        own.write_text(f"{uuid.uuid4()}\n")
        _call("mount", os.fsencode(own), os.fsencode(BOOT_ID), None, MS_BIND, None)
    if orders.empty:
        _clear(Path(orders.empty))
    for bind in orders.binds:  # from here on the folder's own path may lead elsewhere
        _call("mount", os.fsencode(bind.source), os.fsencode(bind.target), None, MS_BIND | MS_REC, None)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(asking, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _call(name: str, *arguments: object, harmless: bool = False) -> None:
    """A system call that Python has no name for. :raise Failed: `namespace_failed`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0 and not harmless:
        words = ", ".join(os.fsdecode(word) for word in arguments if isinstance(word, bytes))
        raise Failed("namespace_failed", f"{name} {words}: {os.strerror(ctypes.get_errno())}: `houyi doctor` says what this machine can carry")


def _write(here: int, path: Path, known: Known | None) -> None:
    """A file of the folder `here` (a descriptor), whole or not at all."""
    new = f".{path.name}.new"
    with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o644, dir_fd=here)) as file:
        file.write(msgspec.json.encode(known))
    os.replace(new, path.name, src_dir_fd=here, dst_dir_fd=here)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
