"""The Guests port: what the guest agent says, through libvirt."""

import asyncio
import base64
import binascii
import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import libvirt
import libvirt_qemu

from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.machine import AGENT_SECONDS
from houyi.host.port import OUTPUT_MAX, GuestRun
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.model.ids import VmId

LOOK_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between two looks whether a program has ended; the last one repeats. Each costs the guest a message to its agent."""
RUN_SECONDS = 5
"""For the agent to answer: a guest whose CPUs are all busy with the very workload answers late."""

_SILENT = frozenset(
    {
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_AGENT_COMMAND_TIMEOUT,
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    }
)
"""No guest, no agent, or no answer: all of them mean 'it does not answer', none is an error of ours."""
_COMMAND_REFUSED = frozenset({libvirt.VIR_ERR_AGENT_COMMAND_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR})


class LibvirtGuests:
    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    async def ping(self, vm_id: VmId) -> bool:
        return await self._connection.call(lambda connection: _ping(connection, vm_id))

    async def addresses(self, vm_id: VmId) -> tuple[str, ...]:
        return await self._connection.call(lambda connection: _addresses(connection, vm_id))

    async def run(self, vm_id: VmId, argv: Sequence[str], seconds: float) -> GuestRun:
        program = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        begun = await self._connection.call(lambda connection: _ask(connection, vm_id, "guest-exec", program))
        pid = begun.get("pid")
        try:
            async with asyncio.timeout(seconds):
                return await self._end_of(vm_id, pid)
        except TimeoutError:
            await self._kill(vm_id, pid)
            raise Failed(
                "guest_run_long", f"{argv[0]} ran for more than {seconds:.0f} s in the guest and was killed: allow it more, or give it less to do"
            ) from None
        except asyncio.CancelledError:
            await asyncio.shield(self._kill(vm_id, pid))
            raise

    async def _end_of(self, vm_id: VmId, pid: object) -> GuestRun:
        look = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS[min(look, len(LOOK_SECONDS) - 1)])
            look += 1
            with suppress(Unavailable):  # it is busy with what it was asked to do: the time limit is the caller's
                now = await self._connection.call(lambda connection: _ask(connection, vm_id, "guest-exec-status", {"pid": pid}))
                if now.get("exited"):
                    return run_of(now)

    async def _kill(self, vm_id: VmId, pid: object) -> None:
        """The agent has no word for it, so the guest's own program does it."""
        with suppress(HouyiError):
            await self._connection.call(lambda connection: _ask(connection, vm_id, "guest-exec", {"path": "kill", "arg": ["-KILL", str(pid)]}))


def _ping(connection: Any, vm_id: VmId) -> bool:
    """Asks for the time: a plain guest-ping goes only through libvirt's pass-through, which marks the domain as tainted."""
    try:
        domain = connection.lookupByUUIDString(vm_id)
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        domain.getTime()
    except libvirt.libvirtError as error:
        if error.get_error_code() in _SILENT:
            return False
        if error.get_error_code() in _COMMAND_REFUSED:
            return True  # it answered that it will not tell
        raise
    return True


def _ask(connection: Any, vm_id: VmId, word: str, arguments: Mapping[str, object]) -> Mapping[str, Any]:
    """Through libvirt's pass-through: it has no call for programs in guests. It marks the domain as tainted by a custom command, and says so in its log."""
    try:
        domain = connection.lookupByUUIDString(vm_id)
        answer = json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": word, "arguments": arguments}), RUN_SECONDS, 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _SILENT:
            raise Unavailable(
                "guest_agent_away", f"the guest's agent does not answer ({error}): is qemu-guest-agent installed and running in the guest?"
            ) from error
        if error.get_error_code() in _COMMAND_REFUSED:
            raise Failed(
                "guest_run_refused", f"the guest's agent does not run it ({error}): is there such a program, and may the agent run programs (guest-exec)?"
            ) from error
        raise
    said = answer.get("return") if isinstance(answer, dict) else None
    return said if isinstance(said, dict) else {}


def run_of(said: Mapping[str, Any]) -> GuestRun:
    """The agent's words about a program that has ended, as a hostile guest may say them."""
    code, signal = said.get("exitcode"), said.get("signal")
    ended = code if isinstance(code, int) else 128 + signal if isinstance(signal, int) else -1
    return GuestRun(exit_code=ended, output=_text(said.get("out-data")), complaint=_text(said.get("err-data")))


def _text(data: object) -> str:
    try:
        whole = base64.b64decode(data) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return ""
    return whole[-OUTPUT_MAX:].decode(errors="replace")


def _addresses(connection: Any, vm_id: VmId) -> tuple[str, ...]:
    try:
        domain = connection.lookupByUUIDString(vm_id)
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        cards = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _SILENT | _COMMAND_REFUSED:
            return ()
        raise
    return routable(entry["addr"] for card in cards.values() for entry in card["addrs"] or ())


def routable(said: Iterable[str]) -> tuple[str, ...]:
    """Addresses as a hostile guest may report them -> valid ones, normal form, no loopback, link-local, multicast or unspecified; at most 32, in order."""
    found: dict[str, None] = {}
    for text in said:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified):
            found[str(address)] = None
    return tuple(found)[:32]
