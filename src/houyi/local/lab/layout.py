"""Where a lab's things are, and how they are named and numbered: folders, addresses, the record of what was asked for.

LAB/lab.json        what was asked for; written by `up` alone
LAB/first.*         of the first process: its orders, its identity, its log
LAB/login.json      how the CLI reaches the API (0600); there while the lab is up
LAB/control.sock    where the keeper answers
LAB/shared          one folder that all hosts see, at /var/lib/shared
LAB/server/         the server's state, and all logs of server and keeper
LAB/hosts/NAME/     a host's own /var, /etc and /run
"""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

import msgspec

from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.names import check_name

HOSTS_MAX = 64
SERVER = "server"
"""What `lab cut` and `lab heal` call the server's end of the network."""
SERVER_ADDRESS = "10.93.0.1"
HOSTS_PREFIX = "10.93.0."
VMS_CIDR, VMS_GATEWAY = "10.94.0.0/16", "10.94.0.1"
"""Of the VMs on the lab's own network. Every lab has a network namespace of its own, so all of them use the same addresses."""
BRIDGE = "br0"
"""In every host, with the host's cable in it; and in the middle, with all cables in it."""
SHARED = Path("/var/lib/shared")
_SOCKET_BYTES_MAX = 107
"""What the kernel takes for the path of a UNIX socket (sockaddr_un)."""


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`number` begins with 1 and is never used again."""

    number: int
    memory_mib: int
    machine: str = ""
    """The folder with the system of a whole (emulated) machine with KVM; empty: made of namespaces."""

    @property
    def name(self) -> str:
        return f"{'m' if self.machine else 'h'}{self.number}"

    @property
    def address(self) -> str:
        return f"{HOSTS_PREFIX}{10 + self.number}"


class LabRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`id` makes the hosts' UUIDs differ from any other lab's."""

    id: str
    api_port: int
    hosts: tuple[HostRecord, ...]

    def host_uuid(self, host: HostRecord) -> str:
        return str(uuid5(UUID(self.id), host.name))


@dataclass(frozen=True, slots=True)
class HostFolder:
    path: Path

    @property
    def var(self) -> Path:
        return self.path / "var"

    @property
    def etc(self) -> Path:
        return self.path / "etc"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def libvirt_socket(self) -> Path:
        return self.run / "libvirt/libvirt-sock"

    @property
    def virtlogd_socket(self) -> Path:
        return self.run / "libvirt/virtlogd-sock"

    @property
    def identity(self) -> Path:
        """Of the agent: there once it has joined."""
        return self.var / "lib/houyi/agent/identity"

    @property
    def join_file(self) -> Path:
        return self.run / "houyi/join.token"


@dataclass(frozen=True, slots=True)
class LabFolder:
    path: Path

    @classmethod
    def of(cls, labs: Path, name: str) -> "LabFolder":
        """:raise Invalid: `name_invalid`, `path_too_long`."""
        check_name(name)
        folder = cls(labs.absolute() / name)
        if len(os.fsencode(folder.control)) > _SOCKET_BYTES_MAX:
            raise Invalid(
                "path_too_long", f"{folder.control} is longer than a socket's path may be: give the lab a shorter name, or set lab_dir to a shorter path"
            )
        return folder

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record_file(self) -> Path:
        return self.path / "lab.json"

    @property
    def login(self) -> Path:
        return self.path / "login.json"

    @property
    def control(self) -> Path:
        return self.path / "control.sock"

    @property
    def shared(self) -> Path:
        return self.path / "shared"

    @property
    def server(self) -> Path:
        return self.path / "server"

    @property
    def logs(self) -> Path:
        return self.server / "log"

    @property
    def admin_token(self) -> Path:
        return self.server / "state/admin.token"

    def host(self, name: str) -> HostFolder:
        return HostFolder(self.path / "hosts" / name)

    def read(self) -> LabRecord | None:
        """None: there is no such lab. :raise Failed: `lab_record_broken`."""
        try:
            return msgspec.json.decode(self.record_file.read_bytes(), type=LabRecord)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except msgspec.DecodeError as error:
            raise Failed("lab_record_broken", f"{self.record_file} cannot be read ({error}): `houyi lab down --name {self.name}` removes the lab") from error

    def write(self, record: LabRecord) -> None:
        new = self.record_file.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        new.replace(self.record_file)


def with_hosts(record: LabRecord, count: int, memory_mib: int) -> LabRecord:
    """The lab with so many hosts of namespaces; those that it has stay as they are. 0: as many as it has.

    :raise Invalid: `hosts_too_many`. :raise Conflict: `lab_shrinks`.
    """
    if count > HOSTS_MAX:
        raise Invalid("hosts_too_many", f"a lab has at most {HOSTS_MAX} hosts: ask for fewer")
    there = sum(not host.machine for host in record.hosts)
    if count and count < there:
        raise Conflict("lab_shrinks", f"this lab has {there} hosts and does not shrink: `houyi lab down` first")
    first = _next_number(record)
    new = tuple(HostRecord(number=first + number, memory_mib=memory_mib) for number in range(max(0, count - there)))
    return LabRecord(id=record.id, api_port=record.api_port, hosts=(*record.hosts, *new))


def with_machine(record: LabRecord, machine: str, memory_mib: int) -> LabRecord:
    """The lab with a machine, if it has none. :param machine: the folder of its system."""
    if any(host.machine for host in record.hosts):
        return record
    host = HostRecord(number=_next_number(record), memory_mib=memory_mib, machine=machine)
    return LabRecord(id=record.id, api_port=record.api_port, hosts=(*record.hosts, host))


def _next_number(record: LabRecord) -> int:
    return max((host.number for host in record.hosts), default=0) + 1
