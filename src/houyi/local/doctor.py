"""`houyi doctor`: what this machine can do for VMs, found by trying; each finding says what it limits and what to do about it.

CHECKS is the list. A check looks and answers; it changes nothing. After them comes the advice of the host report, by the very rules that the server shows it by.
"""

import asyncio
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from houyi.base.config import Settings
from houyi.host.build import suites
from houyi.host.probe.kvm import probe_kvm
from houyi.host.probe.machine import MachineFiles, disk_gib
from houyi.host.probe.traits import look
from houyi.host.shell import run
from houyi.local import systemd
from houyi.local.kvm_device import closed_to_qemu
from houyi.local.lab.cables import ruleset
from houyi.local.lab.layout import HOSTS_MAX, SERVER
from houyi.local.lab.up import KVM_MIB
from houyi.local.programs import LIBVIRT_SOCKET, answers_unix
from houyi.model.errors import HouyiError
from houyi.model.host import Accelerator
from houyi.planning.host_report import advice

QEMU_WANTED = (10, 0)
QEMU_MIGRATES_TCG = (9, 0)
"""Older ones lose dirty pages of RAM blocks that are a multiple of 256 KiB when they migrate under TCG, and report success."""
LIBVIRT_WANTED = (11, 0)
MEMORY_FREE_MIB = 1024
DISK_FREE_GIB = 10
LAB_HOST_MIB = 200
"""What libvirt's daemons and the agent of one host of a lab take, measured with room to spare."""
COMMAND_SECONDS = 10.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAP_SYS_RESOURCE = 1 << 24
"""capabilities(7): may raise a limit that is hard."""


class Finding(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    ADVICE = "advice"
    """Nothing is missing; something costs performance, or keeps guests less apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`limits`: what cannot be had as it is; `advice`: what to do; both empty when all is well."""

    check: str
    finding: Finding
    found: str
    limits: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks look at."""

    settings: Settings
    files: MachineFiles = field(default_factory=MachineFiles)
    root: Path = Path("/")
    """Below which the host report's files are."""


Check = Callable[[Machine], Awaitable[Result]]


def parse_version(text: str) -> tuple[int, int] | None:
    """The first 'N.M' in a tool's version output."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


async def _version(argv: tuple[str, ...]) -> tuple[int, int] | None:
    try:
        return parse_version((await run(argv, timeout=COMMAND_SECONDS)).text)
    except HouyiError:
        return None


async def check_root(_machine: Machine) -> Result:
    if os.geteuid() == 0:
        return Result(check="root", finding=Finding.OK, found="running as root")
    return Result(check="root", finding=Finding.WARN, found=f"running as uid {os.geteuid()}", limits="some checks see less", advice="run `sudo houyi doctor`")


async def check_kvm(machine: Machine) -> Result:
    probe = await probe_kvm(machine.settings.agent.probe_seconds)
    exits = ", ".join(f"{name} {ns} ns" for name, ns in probe.exit_ns.items())
    found = f"{probe.verdict}: {probe.reason}" + (f"; VM exits: {exits}" if exits else "")
    if probe.accelerator is Accelerator.KVM and probe.verdict == "native":
        return Result(check="kvm", finding=Finding.OK, found=found)
    if probe.accelerator is Accelerator.KVM:
        return Result(
            check="kvm", finding=Finding.WARN, found=found, limits="guests are many times slower than the machine", advice="use real hardware for work"
        )
    limits = "VMs run under TCG (software emulation): right, but 10 to 50 times slower"
    return Result(
        check="kvm", finding=Finding.WARN, found=found, limits=limits, advice="enable VT-x or AMD-V, or nested virtualization, on what this machine runs on"
    )


async def check_kvm_device(_machine: Machine) -> Result:
    if closed_to_qemu():
        limits = "each start of a VM takes half a minute longer: libvirt asks QEMU for its capabilities again and again"
        return Result(
            check="kvm device", finding=Finding.WARN, found="QEMU's user may not open /dev/kvm", limits=limits, advice="`houyi up` corrects its group"
        )
    return Result(check="kvm device", finding=Finding.OK, found="open to QEMU's user, or not there")


async def check_qemu(_machine: Machine) -> Result:
    version = await _version(("qemu-system-x86_64", "--version"))
    if version is None:
        return Result(check="qemu", finding=Finding.FAIL, found="qemu-system-x86_64 is missing", limits="no VM can run", advice="install qemu-system-x86")
    found = f"QEMU {version[0]}.{version[1]}"
    if version < QEMU_MIGRATES_TCG:
        limits = "live migration under TCG corrupts guest memory and is refused"
        return Result(check="qemu", finding=Finding.WARN, found=found, limits=limits, advice="install QEMU 10 (Debian 12: from its backports suite)")
    if version < QEMU_WANTED:
        return Result(check="qemu", finding=Finding.WARN, found=found, limits="untested with this version", advice="install QEMU 10 or newer")
    return Result(check="qemu", finding=Finding.OK, found=found)


async def check_libvirt(_machine: Machine) -> Result:
    version = await _version(("/usr/sbin/libvirtd", "--version"))
    if version is None:
        return Result(check="libvirt", finding=Finding.FAIL, found="libvirtd is missing", limits="no VM can run", advice="install libvirt-daemon-system")
    running = await answers_unix(LIBVIRT_SOCKET)
    found = f"libvirt {version[0]}.{version[1]}, {'running' if running else 'not running'}"
    if version < LIBVIRT_WANTED:
        advice = "install libvirt 11 (Debian 12: from its backports suite)"
        return Result(check="libvirt", finding=Finding.WARN, found=found, limits="untested with this version", advice=advice)
    if not running:
        return Result(check="libvirt", finding=Finding.WARN, found=found, limits="no VM runs now", advice="`houyi up --detach` starts it")
    return Result(check="libvirt", finding=Finding.OK, found=found)


async def check_tools(_machine: Machine) -> Result:
    wanted = {
        "qemu-img": "qemu-utils",
        "dnsmasq": "dnsmasq-base",
        "nft": "nftables",
        "ip": "iproute2",
        "prlimit": "util-linux",
        "setpriv": "util-linux",
        "virtlogd": "libvirt-daemon-system",
    }
    missing = {tool: package for tool, package in wanted.items() if shutil.which(tool, path=_PATH) is None}
    if not missing:
        return Result(check="tools", finding=Finding.OK, found=", ".join(wanted))
    packages = " ".join(sorted(set(missing.values())))
    return Result(
        check="tools", finding=Finding.FAIL, found=f"missing: {', '.join(missing)}", limits="networks or disks cannot be made", advice=f"install {packages}"
    )


async def check_core_limit(machine: Machine) -> Result:
    """libvirt lifts the limit of core files for each QEMU, and gives up where it may not. sudo 1.9.16 (Debian 13) sets it to 0."""
    try:
        limits = (machine.files.proc / "self/limits").read_text()
        status = (machine.files.proc / "self/status").read_text()
    except OSError as error:
        return Result(check="core limit", finding=Finding.WARN, found=f"not to be read: {error.strerror}", limits="not known", advice="run as root")
    hard = next((line.split()[5] for line in limits.splitlines() if line.startswith("Max core file size")), "unlimited")
    capabilities = int(next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), "0"), 16)
    if hard == "unlimited" or capabilities & _CAP_SYS_RESOURCE:
        return Result(check="core limit", finding=Finding.OK, found=hard if hard == "unlimited" else f"{hard}, may be lifted")
    advice = "start Houyi from a root shell that sudo did not make, or put `Defaults rlimit_core=default` into sudoers"
    return Result(check="core limit", finding=Finding.FAIL, found=f"{hard}, and without CAP_SYS_RESOURCE it stays", limits="no VM can start", advice=advice)


async def check_firmware(_machine: Machine) -> Result:
    if any(Path("/usr/share/qemu/firmware").glob("*.json")) and Path("/usr/share/OVMF").is_dir():
        return Result(check="uefi", finding=Finding.OK, found="OVMF is installed")
    return Result(check="uefi", finding=Finding.WARN, found="no OVMF", limits="VMs with firmware `uefi` are refused", advice="install ovmf")


async def check_memory(machine: Machine) -> Result:
    total, free = machine.files.memory_mib(), machine.files.memory_free_mib()
    found = f"{free} MiB of {total} MiB available"
    if free < MEMORY_FREE_MIB:
        return Result(check="memory", finding=Finding.WARN, found=found, limits="only tiny VMs fit", advice="stop something, or add memory")
    return Result(check="memory", finding=Finding.OK, found=found)


async def check_disk(machine: Machine) -> Result:
    folder = machine.settings.state_dir
    while not folder.exists():
        folder = folder.parent
    size, free = disk_gib(folder)
    found = f"{free} GiB of {size} GiB free at {folder}"
    if free < DISK_FREE_GIB:
        return Result(check="disk", finding=Finding.WARN, found=found, limits="disks are thin and may run full", advice="make room, or put state_dir elsewhere")
    return Result(check="disk", finding=Finding.OK, found=found)


async def check_lab(machine: Machine) -> Result:
    """Makes in new namespaces what a lab is made of; the kernel removes them with their only process."""
    limits = "no `houyi lab` here"
    if os.geteuid() != 0:
        return Result(check="lab", finding=Finding.WARN, found="not root: not tried", limits=limits, advice="run `sudo houyi doctor`")
    alone = ("unshare", "--pid", "--net", "--mount", "--uts", "--fork", "--kill-child=KILL", "--mount-proc", "--")
    links = b"link add br0 type bridge\nlink add h1 type veth peer name eth0\n"
    rules = json.dumps(ruleset([frozenset(("h1", SERVER))])).encode()
    try:
        await run((*alone, "ip", "-batch", "-"), timeout=COMMAND_SECONDS, input=links)
        await run((*alone, "nft", "--json", "--file", "-"), timeout=COMMAND_SECONDS, input=rules)
    except HouyiError as error:
        advice = "use a kernel with namespaces, bridge, veth and nftables' bridge family, outside an unprivileged container"
        return Result(check="lab", finding=Finding.WARN, found=error.detail, limits=limits, advice=advice)
    fit = max(0, machine.files.memory_free_mib() - MEMORY_FREE_MIB) // LAB_HOST_MIB
    found = f"namespaces, bridge, cables and cuts work; memory for {min(fit, HOSTS_MAX)} hosts, their VMs apart"
    if fit < 2:
        return Result(check="lab", finding=Finding.WARN, found=found, limits="`houyi lab` has no room for two hosts", advice="stop something, or add memory")
    return Result(check="lab", finding=Finding.OK, found=found)


async def check_lab_machine(machine: Machine) -> Result:
    """What `houyi lab up --kvm` builds its machine with, and runs it on."""
    limits = "no `houyi lab up --kvm`"
    wanted = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
    missing = {tool: package for tool, package in wanted.items() if shutil.which(tool, path=_PATH) is None}
    if missing:
        advice = f"install {' '.join(sorted(set(missing.values())))}"
        return Result(check="lab machine", finding=Finding.WARN, found=f"missing: {', '.join(missing)}", limits=limits, advice=advice)
    if not Path("/dev/net/tun").exists():
        return Result(check="lab machine", finding=Finding.WARN, found="no /dev/net/tun", limits=limits, advice="load the kernel module tun")
    try:
        await suites.sources(suites.own())
    except HouyiError as error:
        return Result(check="lab machine", finding=Finding.WARN, found=error.detail, limits=limits, advice="run this on Debian, with apt sources of its suite")
    if machine.files.memory_free_mib() < KVM_MIB + MEMORY_FREE_MIB:
        found = f"{machine.files.memory_free_mib()} MiB available, {KVM_MIB} MiB for the machine"
        return Result(check="lab machine", finding=Finding.WARN, found=found, limits="a machine of its usual size", advice="stop something, or use --memory 2G")
    return Result(check="lab machine", finding=Finding.OK, found="its system can be built and run")


async def check_hugepages(machine: Machine) -> Result:
    reserved = {size: count for size, count in machine.files.hugepages().items() if count}
    if reserved:
        return Result(check="huge pages", finding=Finding.OK, found=", ".join(f"{count} of {size} KiB" for size, count in reserved.items()))
    return Result(check="huge pages", finding=Finding.OK, found="none reserved: guests use transparent huge pages where the kernel has them")


async def check_cgroups(machine: Machine) -> Result:
    unified = (machine.files.sys / "fs/cgroup/cgroup.controllers").exists()
    if unified:
        return Result(check="cgroups", finding=Finding.OK, found="version 2")
    legacy = (machine.files.sys / "fs/cgroup/memory").is_dir() or (machine.files.sys / "fs/cgroup/cpu").is_dir()
    found = "version 1" if legacy else "not mounted"
    return Result(
        check="cgroups",
        finding=Finding.WARN,
        found=found,
        limits="VMs share CPU time without weights",
        advice="boot with the unified hierarchy (systemd's default)",
    )


async def check_init(_machine: Machine) -> Result:
    if systemd.runs():
        return Result(check="init", finding=Finding.OK, found="systemd: it keeps the services running")
    return Result(check="init", finding=Finding.OK, found="no systemd: `houyi up` keeps the services running, but nothing starts it at boot")


async def check_nested(machine: Machine) -> Result:
    _name, flags = machine.files.cpu()
    where = "inside a VM" if "hypervisor" in flags else "on hardware"
    return Result(check="machine", finding=Finding.OK, found=f"{where}, {machine.files.cpus()} CPUs, kernel {platform.release()}")


async def check_clock(_machine: Machine) -> Result:
    built = Path(__file__).stat().st_mtime
    if time.time() < built - 86400:
        limits = "certificates are judged by it"
        return Result(
            check="clock",
            finding=Finding.FAIL,
            found="it shows a time before this program was installed",
            limits=limits,
            advice="set the clock, run an NTP client",
        )
    return Result(check="clock", finding=Finding.OK, found=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


CHECKS: tuple[Check, ...] = (
    check_root,
    check_nested,
    check_kvm,
    check_kvm_device,
    check_qemu,
    check_libvirt,
    check_core_limit,
    check_tools,
    check_firmware,
    check_memory,
    check_disk,
    check_hugepages,
    check_cgroups,
    check_lab,
    check_lab_machine,
    check_init,
    check_clock,
)


async def advise(machine: Machine) -> tuple[Result, ...]:
    """What to do for VMs on this machine beyond what the checks say, the most useful first."""
    probe = await probe_kvm(machine.settings.agent.probe_seconds)
    found = advice(await look(probe, machine.root))
    return tuple(
        Result(check=item.name, finding=Finding.ADVICE, found=item.value, limits=item.meaning, advice=item.advice)
        for item in found
        if item.name != "accelerator"
    )  # that is what check_kvm says


async def examine(settings: Settings) -> tuple[Result, ...]:
    """All checks, in the order of CHECKS, then advice."""
    machine = Machine(settings)
    results, advised = await asyncio.gather(asyncio.gather(*(check(machine) for check in CHECKS)), advise(machine))
    return (*results, *advised)
