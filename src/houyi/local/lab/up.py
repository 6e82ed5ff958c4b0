"""`houyi lab up`: have a lab, with so many hosts, all of them on and ready. Run again it repairs: what is missing is started, what is there is left alone."""

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from houyi.base.config import Settings
from houyi.base.secret_file import write_secret
from houyi.host.disk.shared import MARKER
from houyi.host.probe.machine import MachineFiles
from houyi.local.lab.ask import ask, status
from houyi.local.lab.birth import bear, born, last_words
from houyi.local.lab.first import Orders
from houyi.local.lab.layout import LabFolder, LabRecord, with_hosts, with_machine
from houyi.local.lab.machine.image import MachineImage, have_image
from houyi.local.lab.words import Ask, LabStatus
from houyi.local.processes import kill, until
from houyi.local.systemd import SETTING_SECTIONS, given_settings
from houyi.local.up import check_root
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.sdk.credentials import login_text

HOSTS = 3
PORTS = range(7490, 7590)
"""Where a new lab's API is looked for a free one; it keeps it."""
MACHINE_MIB = 1024
"""What a new lab's hosts leave to the machine when they share its memory."""
HOST_MIB_MIN = 1024
KVM_MIB = 3072
"""Of a new machine: what its VMs run in, and half a gigabyte for itself."""
ANSWER_SECONDS = 30.0
KVM_READY_SECONDS = 900.0
"""To boot it, and to keep a snapshot of it, on CPUs that do something else as well."""
READY_SECONDS = 120.0
"""Three hosts take some 10 s on two idle CPUs; this is for busy ones."""

READY_LOOK_SECONDS = 0.5
"""Each look makes the server list its hosts, while it has enough to do."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a lab shall have."""

    hosts: int = 0
    """Of namespaces; 0: as many as it has, HOSTS for a new one (none, if it is to have a machine)."""
    memory_mib: int = 0
    """Of each new one; 0: an equal share of the machine's."""
    kvm: bool = False
    """Whether it shall have a machine with KVM."""


async def lab_up(lab: LabFolder, wish: Wish, tell: Tell) -> LabStatus:
    """:raise Forbidden: `not_root`. :raise Conflict: `lab_shrinks`. :raise Failed: `lab_not_ready`, `namespace_failed`, `no_free_port`, or as `build_machine`."""
    check_root()
    lab.path.mkdir(mode=0o711, parents=True, exist_ok=True)
    async with only_one(lab):
        image = await have_image(Settings().state_dir / "build", tell) if wish.kvm else None
        record = _recorded(lab, wish, image)
        if born(lab.path) is None:
            tell(f"starting the server and {len(record.hosts)} hosts")
            await _switch_on(lab, record)
        await _answering(lab)
        await ask(lab, Ask(verb="have"))
        found = await _ready(lab, tell)
        write_secret(lab.login, login_text(found.url, lab.admin_token.read_text().strip()).encode())
        return found


@asynccontextmanager
async def only_one(lab: LabFolder) -> AsyncIterator[None]:
    """One `up` or `down` of a lab at a time; the others wait. The kernel lets go of it however we end."""
    while True:
        descriptor = os.open(lab.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
            if _same(descriptor, lab.path):
                yield
                return
            lab.path.mkdir(mode=0o711, parents=True, exist_ok=True)  # a `down` removed it while we waited
        finally:
            os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _recorded(lab: LabFolder, wish: Wish, image: MachineImage | None) -> LabRecord:
    """What is asked for, written down before anything is done."""
    before = lab.read() or LabRecord(id=str(uuid4()), api_port=0, hosts=())
    count = wish.hosts or sum(not host.machine for host in before.hosts) or (0 if wish.kvm or before.hosts else HOSTS)
    share = wish.memory_mib or max(HOST_MIB_MIN, (MachineFiles().memory_mib() - MACHINE_MIB) // max(1, count))
    record = with_hosts(before, count, share)
    if image is not None:
        record = with_machine(record, str(image.path), wish.memory_mib or KVM_MIB)
    if born(lab.path) is None and not (record.api_port and _is_free(record.api_port)):
        record = LabRecord(id=record.id, api_port=_free_port(), hosts=record.hosts)
    for path, mode in ((lab.shared, 0o755), (lab.path / "hosts", 0o755), (lab.server / "run", 0o755), (lab.logs, 0o750), (lab.server / "state", 0o711)):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    (lab.server / "houyi.toml").touch()
    (lab.shared / MARKER).write_text(f"{record.id}\n")
    lab.write(record)
    return record


def _free_port() -> int:
    """:raise Failed: `no_free_port`."""
    found = next((port for port in PORTS if _is_free(port)), None)
    if found is None:
        raise Failed("no_free_port", f"all TCP ports from {PORTS.start} to {PORTS.stop - 1} are in use: end a lab")
    return found


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


async def _switch_on(lab: LabFolder, record: LabRecord) -> None:
    keeper = (sys.executable, "-P", "-m", "houyi.local.lab.keeper", str(lab.path))
    orders = Orders(hostname=f"lab-{lab.name}"[:63], listen=record.api_port, then=keeper)
    lab.control.unlink(missing_ok=True)
    await bear(lab.path, orders, lab_settings(os.environ))


def lab_settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Of our environment what is meant for server and agents; where things are is the lab's own business."""
    return {name: value for name, value in given_settings(environment).items() if name.startswith(SETTING_SECTIONS)}


async def _answering(lab: LabFolder) -> None:
    async def answers() -> bool:
        try:
            await ask(lab, Ask(verb="status"))
        except Unavailable:
            return born(lab.path) is None
        return True

    if not await until(answers, ANSWER_SECONDS) or born(lab.path) is None:
        known = born(lab.path)
        if known is not None:
            await kill(known)
        raise Failed("lab_not_ready", f"the keeper of lab {lab.name} does not answer: {last_words(lab.path / 'first.log')}")


async def _ready(lab: LabFolder, tell: Tell) -> LabStatus:
    """Until the server has every host as `ready`, or as an administrator wants it."""
    told: set[str] = set()
    found: LabStatus | None = None
    record = lab.read()
    seconds = KVM_READY_SECONDS if record is not None and any(host.machine for host in record.hosts) else READY_SECONDS

    async def all_there() -> bool:
        nonlocal found
        found = await status(lab)
        there = {host.name for host in found.hosts if host.heard and host.state not in ("joining", "unreachable")}
        for name in sorted(there - told):
            tell(f"host {name} is {next(host.state for host in found.hosts if host.name == name)}")
        told.update(there)
        broken = next((host for host in found.hosts if host.power == "off" and host.problem), None)
        if broken is not None:
            raise Failed("lab_not_ready", f"host {broken.name}: {broken.problem}")
        return found.server and all(host.name in there or host.cut_from for host in found.hosts)

    try:
        whole = await until(all_there, seconds, READY_LOOK_SECONDS)
    except HouyiError as error:
        raise Failed("lab_not_ready", f"lab {lab.name} went down while it started ({error.detail}): {last_words(lab.path / 'first.log')}") from error
    if not whole or found is None:
        away = ", ".join(host.name for host in found.hosts if host.name not in told) if found else "the server"
        raise Failed("lab_not_ready", f"lab {lab.name}: not ready after {seconds:g} s: {away or 'the server'}; the logs are in {lab.logs} and {lab.path}/hosts")
    return found
