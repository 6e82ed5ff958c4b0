"""`houyi down`: stop everything that `houyi up` started on this machine, and leave no process, bridge or rule behind.

VMs keep their records and disks: the next `up` starts again those that are wanted running. `--purge` removes everything.
It works from any state: with the server dead, libvirtd dead, or half of it never started.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from houyi.base.config import Settings
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.host.shell import start
from houyi.local import before, systemd
from houyi.local.firewall import remove_libvirt_chains
from houyi.local.orphans import orphans
from houyi.local.processes import PidFile, end, until
from houyi.local.programs import LIBVIRT_SOCKET, answers_unix, programs
from houyi.local.supervisor import END_SECONDS, Program, foreign
from houyi.local.up import check_root, make_folders, supervisor_file
from houyi.model.errors import Failed, HouyiError
from houyi.model.vm import VmState

log = get_log(__name__)

GRACE_SECONDS = 15.0
"""What guests get to shut down before they are powered off."""
LIBVIRT_SECONDS = 20.0
QEMU_LOGS = Path("/var/log/libvirt/qemu")
_ON = frozenset({VmState.RUNNING, VmState.PAUSED, VmState.STOPPING})
_LIBVIRT = ("libvirtd", "virtlogd")

OpenPorts = Callable[[], Awaitable[Ports]]
Tell = Callable[[str], None]


async def take_down(settings: Settings, open_ports: OpenPorts, expect_restart: Callable[[], None], tell: Tell, *, purge: bool = False) -> None:
    """Returns when nothing is left. `expect_restart` marks in the agent's ledger that VMs are ended by us, not by their guests.

    :raise Forbidden: `not_root`. :raise Failed: `down_incomplete`, after stopping all that could be stopped; run it again after mending what it says.
    """
    check_root()
    units = systemd.Installed()
    if not settings.state_dir.exists() and not settings.run_dir.exists() and not units.present:
        return
    make_folders(settings)
    if units.present:
        tell("stopping the units")
        await (units.remove() if purge else units.stop())
    supervisor = supervisor_file(settings).read()
    if supervisor is not None:
        tell("stopping the supervisor")
        await end(supervisor, END_SECONDS * 3)
    for program in reversed(programs(settings)):
        if program.name not in _LIBVIRT:
            await _end_program(settings, program, tell)
    expect_restart()
    problem = await _clear_machine(settings, open_ports, tell, purge=purge)
    ended = [await _end_program(settings, program, tell) for program in reversed(programs(settings)) if program.name in _LIBVIRT]
    if any(ended):
        await remove_libvirt_chains()
        await before.restore(settings.run_dir)
    for orphan in orphans(settings.state_dir):
        tell(f"stopping QEMU (pid {orphan.pid})")
        await end(orphan, END_SECONDS)
    if problem:
        raise Failed("down_incomplete", f"everything that could be stopped is stopped, but {problem}: mend that, then run `houyi down` again")
    if purge:
        tell("removing data")
        await asyncio.to_thread(_remove_qemu_logs)
        await asyncio.to_thread(_remove_folders, (settings.state_dir, settings.run_dir, settings.log_dir))


def _remove_qemu_logs(folder: Path = QEMU_LOGS) -> None:
    """What libvirt wrote down of each start of our VMs; it never removes that itself."""
    for path in folder.glob("houyi-*.log*"):
        path.unlink(missing_ok=True)


def _remove_folders(folders: Sequence[Path]) -> None:
    """:raise Failed: `down_incomplete`."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Failed("down_incomplete", f"all is stopped, but {error.filename} could not be removed ({error.strerror}): remove it by hand") from error


async def _end_program(settings: Settings, program: Program, tell: Tell) -> bool:
    """Whether there was one of ours to end."""
    pid_file = PidFile(settings.run_dir / f"{program.name}.pid")
    known = pid_file.read()
    if known is not None:
        tell(f"stopping {program.name}")
        await end(known, END_SECONDS)
    pid_file.remove()
    return known is not None


async def _clear_machine(settings: Settings, open_ports: OpenPorts, tell: Tell, *, purge: bool) -> str:
    """Our domains off, our networks gone; with `purge` their definitions as well. Needs libvirtd, which is started for it if need be.

    Returns what is in the way, '' if nothing is.
    """
    try:
        await _have_libvirt(settings)
        ports = await open_ports()
    except HouyiError as away:
        return f"networks are left, since libvirt could not be asked ({away.detail}; its log is {settings.log_dir}/libvirtd.log)"
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
    except HouyiError as error:
        return f"libvirt refused: {error.detail}"
    finally:
        await ports.close()
    return ""


async def _have_libvirt(settings: Settings) -> None:
    """Start libvirt's daemons, as `up` would, if they do not run; they are ended with those that `up` started. :raise Failed: `program_missing`."""
    if systemd.runs() or await answers_unix(LIBVIRT_SOCKET):
        return
    await before.remember(settings.run_dir)
    for program in programs(settings):
        if program.name in _LIBVIRT and foreign(program) is None:
            process = start(program.argv, log=settings.log_dir / f"{program.name}.log")
            PidFile(settings.run_dir / f"{program.name}.pid").write(process.pid)
            await until(program.ready, LIBVIRT_SECONDS)


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
