"""The keeper of a lab: lays the network, keeps the server and the hosts' programs running, lets hosts join, answers the command, passes the API on.

It is the program of the lab's first process: when it ends, everything of the lab ends. So it keeps nothing in memory that matters but the cuts.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from houyi.base.log import get_log, set_up
from houyi.base.secret_file import write_secret
from houyi.local.lab import cables
from houyi.local.lab.forward import pass_on
from houyi.local.lab.layout import SERVER, SERVER_ADDRESS, HostRecord, LabFolder, LabRecord
from houyi.local.lab.platform import LabPlatform
from houyi.local.lab.power import LabHost
from houyi.local.lab.words import Answer, Ask, HostStatus, LabStatus, refusal
from houyi.local.programs import PYTHON, answers_tcp
from houyi.local.supervisor import Program, Supervisor
from houyi.model.errors import Failed, HouyiError, Invalid, NotFound
from houyi.wire.v1.host import Host

log = get_log(__name__)

API_PORT, AGENTS_PORT = 7480, 7481
"""In the lab's own network namespace, where nothing else is."""


class Keeper:
    """Settings of server and agents that the user gave are in our environment, which they inherit."""

    def __init__(self, lab: LabFolder) -> None:
        self._lab = lab
        self._platform = LabPlatform(f"http://127.0.0.1:{API_PORT}", lab.admin_token)
        self._hosts: dict[str, LabHost] = {}
        self._cuts: set[cables.Cut] = set()
        self._turn = asyncio.Lock()
        """One change at a time; looking needs no turn."""
        self._verbs: Mapping[str, Callable[[Ask], Awaitable[None]]] = {
            "status": self._look,
            "have": self._have,
            "start": self._start,
            "kill": self._kill,
            "cut": self._cut,
            "heal": self._heal,
        }

    async def run(self, api: socket.socket) -> None:
        """Until cancelled. `api` listens on the machine's loopback."""
        await cables.lay_bridge()
        self._lab.control.unlink(missing_ok=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Supervisor((server_program(self._lab),), self._lab.server / "run", self._lab.logs).run(), name="server")
            tasks.create_task(pass_on(api, "127.0.0.1", API_PORT), name="api")
            tasks.create_task(self._platform.settle(), name="settle")
            listener = await asyncio.start_unix_server(self._answer, self._lab.control)
            self._lab.control.chmod(0o600)
            tasks.create_task(listener.serve_forever(), name="control")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(msgspec.json.encode(await self._done(await reader.readline())) + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:
            log.info("command_gone", error=str(error))
        finally:
            writer.close()

    async def _done(self, line: bytes) -> Answer:
        try:
            ask = msgspec.json.decode(line, type=Ask)
            await self._verbs[ask.verb](ask)
            return Answer(status=await self._status())
        except HouyiError as error:
            return refusal(error)
        except (msgspec.DecodeError, OSError) as error:
            log.error("command_failed", error=str(error))
            return refusal(Failed("lab_failed", f"{error}: see {self._lab.logs}"))

    async def _status(self) -> LabStatus:
        record, known = self._record(), await self._platform.hosts()
        hosts = tuple(self._host_status(host, (known or {}).get(host.name)) for host in record.hosts)
        url, up = f"http://127.0.0.1:{record.api_port}", known is not None
        return LabStatus(name=self._lab.name, up=True, server=up, url=url, shared=str(self._lab.shared), hosts=hosts)

    def _host_status(self, record: HostRecord, known: Host | None) -> HostStatus:
        host = self._hosts.get(record.name)
        cut_from = sorted("everybody" if other == cables.ALL else other for cut in self._cuts if record.name in cut for other in cut - {record.name})
        return HostStatus(
            name=record.name,
            power=host.power if host else "off",
            address=record.address,
            memory_mib=record.memory_mib,
            state=known.state if known else "",
            heard=bool(host and known and known.facts and known.facts.boot_id == host.boot_id),
            cut_from=tuple(cut_from),
            pid=host.pid if host else 0,
            machine=bool(record.machine),
            problem=host.problem if host else "",
        )

    def _record(self) -> LabRecord:
        record = self._lab.read()
        if record is None:
            raise NotFound("lab_not_found", f"{self._lab.record_file} is gone: `houyi lab down --name {self._lab.name}` ends what is left")
        return record

    def _host(self, name: str) -> LabHost:
        """Made when it is first asked for. :raise NotFound: `lab_host_not_found`."""
        found = next((host for host in self._record().hosts if host.name == name), None)
        if found is None:
            raise NotFound("lab_host_not_found", f"lab {self._lab.name} has no host {name!r}: `houyi lab status` lists them")
        return self._hosts.setdefault(name, LabHost(self._lab, found, self._admit))

    async def _admit(self, host: HostRecord) -> None:
        folder = self._lab.host(host.name)
        if not (folder.identity / "host.pem").exists():
            text = await self._platform.join_token()
            await asyncio.to_thread(write_secret, folder.join_file, f"{text}\n".encode())

    async def _look(self, _ask: Ask) -> None:
        """Nothing is changed."""

    async def _have(self, _ask: Ask) -> None:
        async with self._turn:
            record = self._record()
            ends = await asyncio.gather(*(self._host(host.name).start(record) for host in record.hosts), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _start(self, ask: Ask) -> None:
        async with self._turn:
            await self._host(ask.host).start(self._record())

    async def _kill(self, ask: Ask) -> None:
        async with self._turn:
            await self._host(ask.host).kill()

    async def _cut(self, ask: Ask) -> None:
        self._host(ask.host)
        if ask.other == ask.host:
            raise Invalid("cut_from_itself", f"host {ask.host} cannot be cut from itself: name another one, or `{SERVER}`")
        if ask.other and ask.other != SERVER:
            self._host(ask.other)
        async with self._turn:
            self._cuts.add(frozenset((ask.host, ask.other or cables.ALL)))
            await cables.set_cuts(self._cuts)

    async def _heal(self, ask: Ask) -> None:
        self._host(ask.host)
        async with self._turn:
            self._cuts = {cut for cut in self._cuts if ask.host not in cut}
            await cables.set_cuts(self._cuts)


def server_program(lab: LabFolder) -> Program:
    """The server, whose settings are the lab's and not the machine's."""
    own = {
        "HOUYI_CONFIG": str(lab.server / "houyi.toml"),
        "HOUYI_STATE_DIR": str(lab.server / "state"),
        "HOUYI_RUN_DIR": str(lab.server / "run"),
        "HOUYI_LOG_DIR": str(lab.logs),
        "HOUYI_SERVER__API_HOST": "127.0.0.1",
        "HOUYI_SERVER__API_PORT": str(API_PORT),
        "HOUYI_SERVER__AGENTS_HOST": SERVER_ADDRESS,
        "HOUYI_SERVER__AGENTS_PORT": str(AGENTS_PORT),
        "HOUYI_SERVER__AGENTS_NAMES": f'["{SERVER_ADDRESS}"]',
    }

    async def ready() -> bool:
        return await answers_tcp("127.0.0.1", API_PORT) and await answers_tcp(SERVER_ADDRESS, AGENTS_PORT)

    return Program(name="server", argv=("env", *(f"{name}={value}" for name, value in own.items()), *PYTHON, "server"), ready=ready)


def main(folder: Path, descriptor: int) -> None:
    """The keeper of the lab in `folder`; `descriptor` is the socket that listens for the API's clients."""
    set_up("info", "json")
    asyncio.run(Keeper(LabFolder(folder)).run(socket.socket(fileno=descriptor)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
