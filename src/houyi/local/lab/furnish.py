"""What a host finds when it is switched on: its own /etc, /var and /run, libvirt's configuration, and the programs that run on it.

/etc begins as a copy of what everybody may read of the machine's; secrets are not copied. What is below /etc and /var stays after a power cut.
"""

import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import houyi
from houyi.local.lab.birth import inside
from houyi.local.lab.first import Bind, Orders
from houyi.local.lab.layout import SERVER_ADDRESS, SHARED, HostFolder, HostRecord, LabFolder, LabRecord
from houyi.local.programs import PYTHON, answers_unix
from houyi.local.supervisor import Program

_VAR = ("cache", "lib/libvirt", "lib/misc", "log/libvirt/qemu", "spool")
_NOT_COPIED = frozenset({"libvirt", "houyi", "resolv.conf", "hostname", "hosts", "machine-id", "mtab"})
_OWN = (Path("/var"), Path("/etc"), Path("/run"))
_LIBVIRT: Mapping[str, Mapping[str, object]] = {
    "libvirtd.conf": {"auth_unix_rw": "none", "unix_sock_rw_perms": "0700"},
    "qemu.conf": {"security_driver": "none", "remember_owner": 0, "cgroup_controllers": []},
}
"""No security driver: AppArmor's profiles know the machine's paths. No remembered owners: libvirt would keep them beside shared files, once for all hosts."""


def furnish(lab: LabFolder, record: LabRecord, host: HostRecord) -> None:
    """Make what is missing of a host's folders. Its /etc is made once, its libvirt's configuration each time."""
    folder = lab.host(host.name)
    for path in (folder.run, *(folder.var / name for name in _VAR)):
        path.mkdir(parents=True, exist_ok=True)
    for path, mode in ((folder.var / "lib/houyi", 0o711), (folder.var / "tmp", 0o1777), (_in(folder, SHARED), 0o755)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    for name, target in (("run", "/run"), ("lock", "/run/lock")):
        if not (folder.var / name).is_symlink():
            (folder.var / name).symlink_to(target)
    if not folder.etc.exists():
        _copy_public(Path("/etc"), folder.etc)
    machine_id = record.host_uuid(host).replace("-", "")
    peers = "".join(f"{peer.address} {peer.name}\n" for peer in record.hosts)
    texts = {
        "hostname": f"{host.name}\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost\n{SERVER_ADDRESS} server\n{peers}",
        "machine-id": f"{machine_id}\n",
        "resolv.conf": "",
    }
    for name, text in texts.items():
        (folder.etc / name).write_text(text)
    _configure_libvirt(folder, record.host_uuid(host))
    for path in visible(sys.prefix, sys.base_prefix, *houyi.__path__):
        _in(folder, path).mkdir(parents=True, exist_ok=True)


def _configure_libvirt(folder: HostFolder, host_uuid: str) -> None:
    target = folder.etc / "libvirt"
    target.mkdir(mode=0o700, exist_ok=True)
    (folder.etc / "pki").mkdir(exist_ok=True)
    filters = Path("/etc/libvirt/nwfilter")
    if filters.is_dir() and not (target / "nwfilter").exists():
        shutil.copytree(filters, target / "nwfilter")
    own: Mapping[str, Mapping[str, object]] = {"libvirtd.conf": {"host_uuid": host_uuid}, "qemu.conf": {"shared_filesystems": [str(SHARED)]}}
    for name, settings in _LIBVIRT.items():
        (target / name).write_text("".join(f"{key} = {_value(value)}\n" for key, value in {**settings, **own[name]}.items()))


def _value(value: object) -> str:
    """As virt's configuration files have it; no value of ours holds a quote."""
    if isinstance(value, list):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _in(folder: HostFolder, path: Path) -> Path:
    """Where what the host sees at `path` (below /var, /etc or /run) is from outside."""
    return folder.path / path.relative_to("/")


def visible(*paths: str) -> tuple[Path, ...]:
    """Of these, what a host's own /var, /etc or /run would hide: Python or Houyi may be installed below one of them."""
    return tuple(dict.fromkeys(path for path in (Path(text).resolve() for text in paths) if any(path.is_relative_to(own) for own in _OWN)))


def _copy_public(source: Path, target: Path) -> None:
    """Files that everybody may read, in folders that everybody may enter; links as they are."""
    target.mkdir(mode=0o755)
    with os.scandir(source) as entries:
        for entry in entries:
            if source == Path("/etc") and entry.name in _NOT_COPIED:
                continue
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                (target / entry.name).symlink_to(Path(entry.path).readlink())
            elif stat.S_ISDIR(mode) and mode & 0o005 == 0o005:
                _copy_public(Path(entry.path), target / entry.name)
            elif stat.S_ISREG(mode) and mode & 0o004:
                shutil.copy2(entry.path, target / entry.name)


def orders(lab: LabFolder, host: HostRecord, kvm: bool) -> Orders:
    """`kvm`: give the host a /dev/kvm of its own (folder/kvm)."""
    folder = lab.host(host.name)
    binds = [Bind(str(lab.shared), str(_in(folder, SHARED)))]
    binds += [Bind(str(path), str(_in(folder, path))) for path in visible(sys.prefix, sys.base_prefix, *houyi.__path__)]
    binds += [Bind(str(folder.path / "kvm"), "/dev/kvm")] if kvm else []
    binds += [Bind(str(getattr(folder, own.name)), str(own)) for own in (Path("/run"), Path("/etc"), Path("/var"))]
    return Orders(hostname=host.name, binds=tuple(binds), empty=str(folder.run), boot_id=True)


def programs(lab: LabFolder, host: HostRecord, pid: int) -> tuple[Program, ...]:
    """What runs on the host whose first process is `pid`. The agent also has what settings the keeper's environment holds."""
    folder = lab.host(host.name)

    async def libvirt_ready() -> bool:
        return await answers_unix(folder.libvirt_socket)

    async def virtlogd_ready() -> bool:
        return await answers_unix(folder.virtlogd_socket)

    async def at_once() -> bool:
        return True

    own = {"HOUYI_AGENT__SERVER_HOST": SERVER_ADDRESS, "HOUYI_AGENT__HOST_NAME": host.name, "HOUYI_AGENT__MEMORY_MIB": str(host.memory_mib)}
    own |= {"HOUYI_AGENT__SHARED_DIRS": json.dumps({SHARED.name: str(SHARED)})}
    agent = ("env", *(f"{name}={value}" for name, value in own.items()), *PYTHON, "agent", "--join-file", "/run/houyi/join.token")
    return (
        Program(name="virtlogd", argv=inside(pid, "/usr/sbin/virtlogd"), ready=virtlogd_ready),
        Program(name="libvirtd", argv=inside(pid, "/usr/sbin/libvirtd"), ready=libvirt_ready),
        Program(name="agent", argv=inside(pid, *agent), ready=at_once),
    )
