"""A question to a lab's keeper, from outside."""

import asyncio
import shlex
from collections.abc import Sequence

import msgspec

from houyi.local.lab.birth import born, inside
from houyi.local.lab.layout import SERVER, LabFolder
from houyi.local.lab.machine.words import ssh_words
from houyi.local.lab.words import Answer, Ask, HostStatus, LabStatus, outcome
from houyi.model.errors import Conflict, Failed, NotFound, Unavailable

SECONDS = 60.0
"""Switching many hosts on takes the longest."""
_LINE_BYTES_MAX = 1 << 20


async def ask(lab: LabFolder, question: Ask) -> LabStatus:
    """How the lab is when that is done.

    :raise NotFound: `lab_not_found`. :raise Unavailable: `lab_down`: it is not up. :raise HouyiError: what the keeper raises.
    """
    if lab.read() is None:
        raise NotFound("lab_not_found", f"there is no lab {lab.name!r}: `houyi lab up` makes one")
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(lab.control, limit=_LINE_BYTES_MAX)
            try:
                writer.write(msgspec.json.encode(question) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise Failed("lab_silent", f"the keeper of lab {lab.name} did not answer within {SECONDS:g} s: see {lab.logs}, or `houyi lab down`") from error
    except OSError as error:
        raise Unavailable("lab_down", f"lab {lab.name} is not up: `houyi lab up` starts it again, `houyi lab down` removes it") from error
    if not line:
        raise Unavailable("lab_down", f"lab {lab.name} went down just now: `houyi lab up` starts it again")
    return outcome(msgspec.json.decode(line, type=Answer))


async def doorway(lab: LabFolder, host: str, command: Sequence[str]) -> tuple[str, ...]:
    """The words that run a command (nothing: a shell) on a host, or where the server is. :raise NotFound: `lab_host_not_found`. :raise Conflict: `host_off`."""
    found = await ask(lab, Ask(verb="status"))
    known = born(lab.path)
    if known is None:
        raise Unavailable("lab_down", f"lab {lab.name} went down just now: `houyi lab up` starts it again")
    way = inside(known.pid)
    shell = tuple(command) or ("bash", "-i")
    if host == SERVER:
        return (*way, *shell)
    there = next((each for each in found.hosts if each.name == host), None)
    if there is None:
        raise NotFound("lab_host_not_found", f"lab {lab.name} has no host {host!r}: `houyi lab status` lists them")
    if not there.pid:
        raise Conflict("host_off", f"host {host} is off: `houyi lab start {host}` switches it on")
    there_words = ssh_words(shlex.join(command), terminal=not command) if there.machine else shell
    return (*way, *inside(there.pid, *there_words))


async def status(lab: LabFolder) -> LabStatus:
    """How it is, also when it is not up. :raise NotFound: `lab_not_found`."""
    record = lab.read()
    if record is None:
        raise NotFound("lab_not_found", f"there is no lab {lab.name!r}: `houyi lab up` makes one")
    if born(lab.path) is not None:
        return await ask(lab, Ask(verb="status"))
    hosts = tuple(
        HostStatus(name=host.name, power="off", address=host.address, memory_mib=host.memory_mib, machine=bool(host.machine)) for host in record.hosts
    )
    return LabStatus(name=lab.name, up=False, server=False, url=f"http://127.0.0.1:{record.api_port}", shared=str(lab.shared), hosts=hosts)
