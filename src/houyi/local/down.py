"""`houyi down`: stop everything that `houyi up` started on this machine, and leave no process, bridge or rule behind.

VMs keep their records and disks: the next `up` starts again those that are wanted running. `--purge` removes everything.
It works from any state: with the server dead, libvirtd dead, or half of it never started.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable

from houyi.base.config import Settings
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.host.shell import start
from houyi.local.processes import PidFile, end, until
from houyi.local.programs import LIBVIRT_SOCKET, answers_unix, programs, systemd_runs
from houyi.local.supervisor import END_SECONDS, Program, foreign
from houyi.local.up import check_root, make_folders, supervisor_file
from houyi.model.errors import HouyiError, Unavailable
from houyi.model.vm import VmState

log = get_log(__name__)

GRACE_SECONDS = 15.0
"""What guests get to shut down before they are powered off."""
LIBVIRT_SECONDS = 20.0
_ON = frozenset({VmState.RUNNING, VmState.PAUSED, VmState.STOPPING})
_LIBVIRT = ("libvirtd", "virtlogd")

OpenPorts = Callable[[], Awaitable[Ports]]
Tell = Callable[[str], None]


async def take_down(settings: Settings, open_ports: OpenPorts, expect_restart: Callable[[], None], tell: Tell, *, purge: bool = False) -> None:
    """Returns when nothing is left. `expect_restart` marks in the agent's ledger that VMs are ended by us, not by their guests.

    :raise Forbidden: `not_root`. :raise HouyiError: what could not be stopped; run it again after mending that.
    """
    check_root()
    if not settings.state_dir.exists() and not settings.run_dir.exists():
        return
    make_folders(settings)
    supervisor = supervisor_file(settings).read()
    if supervisor is not None:
        tell("stopping the supervisor")
        await end(supervisor, END_SECONDS * 3)
    for program in reversed(programs(settings)):
        if program.name not in _LIBVIRT:
            await _end_program(settings, program, tell)
    expect_restart()
    await _clear_machine(settings, open_ports, tell, purge=purge)
    for program in reversed(programs(settings)):
        if program.name in _LIBVIRT:
            await _end_program(settings, program, tell)
    if purge:
        tell("removing data")
        for folder in (settings.state_dir, settings.run_dir, settings.log_dir):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _end_program(settings: Settings, program: Program, tell: Tell) -> None:
    pid_file = PidFile(settings.run_dir / f"{program.name}.pid")
    known = pid_file.read()
    if known is not None:
        tell(f"stopping {program.name}")
        await end(known, END_SECONDS)
    pid_file.remove()


async def _clear_machine(settings: Settings, open_ports: OpenPorts, tell: Tell, *, purge: bool) -> None:
    """Our domains off, our networks gone; with `purge` their definitions as well. Needs libvirtd, which is started for it if need be."""
    started = await _have_libvirt(settings)
    try:
        try:
            ports = await open_ports()
        except Unavailable as away:
            log.warning("libvirt_away", detail=away.detail)
            return
        try:
            await _stop_vms(ports, tell)
            for network_id in await ports.networks.seen():
                tell(f"removing network {network_id}")
                await ports.networks.remove(network_id)
            if purge:
                for vm_id in await ports.machine.observe():
                    await ports.machine.undefine(vm_id)
                for vm_id in await ports.disks.vms():
                    await ports.disks.remove_vm(vm_id)
        finally:
            await ports.close()
    finally:
        for program in reversed(started):
            await _end_program(settings, program, tell)


async def _have_libvirt(settings: Settings) -> list[Program]:
    """Start libvirt's daemons if they do not run; those that this started."""
    if systemd_runs() or await answers_unix(LIBVIRT_SOCKET):
        return []
    started = []
    for program in programs(settings):
        if program.name in _LIBVIRT and foreign(program) is None:
            process = start(program.argv, log=settings.log_dir / f"{program.name}.log")
            PidFile(settings.run_dir / f"{program.name}.pid").write(process.pid)
            started.append(program)
            await until(program.ready, LIBVIRT_SECONDS)
    return started


async def _stop_vms(ports: Ports, tell: Tell) -> None:
    vms = await ports.machine.observe()
    asked = [vm_id for vm_id, domain in vms.items() if domain.state in _ON]
    for vm_id in asked:
        tell(f"stopping VM {vm_id}")
        try:
            await ports.machine.shutdown(vm_id)
        except HouyiError as error:
            log.info("shutdown_not_heard", vm=vm_id, code=error.code)

    async def off() -> bool:
        now = await ports.machine.observe()
        return not any(now[vm_id].state in _ON for vm_id in asked if vm_id in now)

    await until(off, GRACE_SECONDS)
    for vm_id in vms:
        await ports.machine.destroy(vm_id)
