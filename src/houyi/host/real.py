"""The real machine, put together: libvirt, files, networks, consoles and the probe as one set of ports."""

import asyncio
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from houyi.base.clock import Clock
from houyi.base.config import Settings
from houyi.host.console import RealConsoles
from houyi.host.disk.carry import RealCarrier
from houyi.host.disk.files import Files, Owner
from houyi.host.disk.ports import RealDisks
from houyi.host.disk.shared import SharedFolders
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.counters import LibvirtTelemetry
from houyi.host.libvirt.domains import Memory
from houyi.host.libvirt.events import Events
from houyi.host.libvirt.facts import LibvirtFacts
from houyi.host.libvirt.guests import LibvirtGuests
from houyi.host.libvirt.live_knobs import LibvirtLiveKnobs
from houyi.host.libvirt.machine import LibvirtMachine
from houyi.host.libvirt.mover import LibvirtMover, Maker
from houyi.host.libvirt.networks import LibvirtNetworks
from houyi.host.libvirt.passages import LibvirtPassages
from houyi.host.net.bridge import SYSFS
from houyi.host.port import Ports, Probe
from houyi.host.probe.machine import MachineFiles
from houyi.host.probe.pressure import pressure
from houyi.host.shell import run
from houyi.host.trace.kvm import KvmTracing
from houyi.host.trace.tracefs import MOUNTS
from houyi.host.tuning.levers import Roots, levers
from houyi.host.tuning.machine import MachineTuner
from houyi.model.errors import Invalid, Unavailable
from houyi.model.host import Accelerator

MOUNT_SECONDS = 10.0
CONNECT_SECONDS = 10.0
"""How long opening waits for libvirtd, which may be starting at the same time as we."""


async def open_ports(
    settings: Settings,
    clock: Clock,
    accelerator: Callable[[], Accelerator],
    make_probe: Callable[[LibvirtFacts], Probe],
    *,
    sysfs: Path = SYSFS,
    roots: Roots = Roots(),  # noqa: B008 - frozen
) -> Ports:
    """Connect and make the folders. From then on libvirt may go and come back.

    `accelerator` is asked at each start of a VM. `sysfs` is where this host's network interfaces are listed, `roots` where its knobs are.

    :raise Unavailable: `libvirt_away`: libvirtd did not answer within CONNECT_SECONDS. :raise Invalid: `path_too_long`, `path_closed`, `qemu_user_missing`.
    """
    memory = Memory(clock.now)
    events = Events(memory, asyncio.get_running_loop())
    connection = LibvirtConnection(settings.agent.libvirt_uri, events.register, events.connection_changed)
    await connection.open(CONNECT_SECONDS)
    try:
        facts = LibvirtFacts(connection)
        owner = await _owner(settings.agent.qemu_user, facts)
        files = Files(settings.state_dir.absolute(), settings.run_dir.absolute())
        files.prepare(owner)
    except BaseException:
        await connection.close()
        raise
    consoles = RealConsoles(files, lambda: frozenset({owner.uid, os.geteuid()}))

    async def close() -> None:
        await consoles.close()
        await connection.close()

    numa = MachineFiles().numa()
    return Ports(
        machine=LibvirtMachine(connection, events, memory, files, clock, accelerator, settings.agent.tcg_tb_size_mib, numa),
        guests=LibvirtGuests(connection),
        disks=RealDisks(files, owner, _name(owner), SharedFolders(settings.agent.shared_dirs)),
        networks=LibvirtNetworks(connection, files.state / "networks", sysfs),
        consoles=consoles,
        probe=make_probe(facts),
        mover=LibvirtMover(
            connection, memory, events.endings, Maker(files, accelerator, settings.agent.tcg_tb_size_mib, numa), owner, settings.agent.migration_tls_dir
        ),
        carrier=RealCarrier(files, owner, _name(owner)),
        passages=LibvirtPassages(settings.agent.libvirt_uri),
        telemetry=LibvirtTelemetry(connection, memory, clock, pressure),
        tracing=KvmTracing(clock, mount=_mount_tracefs),
        tuner=MachineTuner(levers(roots)),
        live_knobs=LibvirtLiveKnobs(connection, memory),
        files=files.state,
        close=close,
    )


async def _mount_tracefs() -> None:
    """Where systemd has not. :raise Failed: it cannot be."""
    await run(["mount", "-t", "tracefs", "tracefs", str(MOUNTS[0])], timeout=MOUNT_SECONDS)


async def _owner(user: str, facts: LibvirtFacts) -> Owner:
    if user:
        try:
            entry = pwd.getpwnam(user)
        except KeyError as error:
            raise Invalid(
                "qemu_user_missing", f"agent.qemu_user is {user!r}, but there is no such user: correct the setting or install libvirt's packages"
            ) from error
        return Owner(entry.pw_uid, entry.pw_gid)
    if not facts.connected:
        raise Unavailable(
            "libvirt_away", "libvirtd does not answer: start it (`systemctl start libvirtd`, or `virtlogd -d; libvirtd -d`), then start the agent again"
        )
    return await facts.qemu_owner() or Owner(os.geteuid(), os.getegid())


def _name(owner: Owner) -> str:
    """Who converts images: QEMU's user if we may become it, else ourselves ('')."""
    if os.geteuid() != 0 or owner.uid == 0:
        return ""
    try:
        return pwd.getpwuid(owner.uid).pw_name
    except KeyError:
        return ""
