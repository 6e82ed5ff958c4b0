"""The links of all hosts that are connected to this server: one session a host, the newest wins, each told when something of its host has changed."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import msgspec
import websockets

from houyi.api.agents.session import ReadImage, Session
from houyi.api.agents.streams import LinkTunnel
from houyi.api.tunnels import TunnelKind
from houyi.base.log import get_log
from houyi.base.socket import Socket
from houyi.control.ca import Authority
from houyi.control.control import Control
from houyi.model.errors import Forbidden, HouyiError, Invalid, NotFound, Stale, Unavailable
from houyi.model.exits import ExitProfile
from houyi.model.ids import HostId, VmId
from houyi.model.latency import LatencyProfile
from houyi.store.views.vm import hosts_of_changes
from houyi.wire.agents import Refused, encode

log = get_log(__name__)

GREETINGS_AT_ONCE = 64
"""A host's arrival writes to the store and is told everything: when ten thousand come back at once, the rest waits its turn instead of all timing out together."""
WATCH_SECONDS = 5.0
"""How often to look for changes without a hint."""


class Links:
    def __init__(self, control: Control, authority: Authority, read_image: ReadImage) -> None:
        self._control = control
        self._authority = authority
        self._read_image = read_image
        self._sessions: dict[HostId, Session] = {}
        self._turns: dict[HostId, asyncio.Lock] = {}
        self._admission = asyncio.Semaphore(GREETINGS_AT_ONCE)

    async def serve(self, host_id: HostId, socket: Socket) -> None:
        """A host's link, from Hello to its end. An older link of the same host ends before this one's Hello counts.

        :raise HouyiError: the host is refused. :raise msgspec.DecodeError: it speaks nonsense. :raise TimeoutError: it says nothing.
        """
        session = Session(self._control, self._authority, self._read_image, host_id, socket)
        hello = await session.hear_hello()
        async with self._turns.setdefault(host_id, asyncio.Lock()):
            before = self._sessions.pop(host_id, None)
            if before is not None:
                await before.end()
            try:
                async with self._admission:
                    await session.greet(hello)
            except NotFound as error:
                self._turns.pop(host_id, None)
                raise Forbidden("host_removed", "this host was removed from the platform: join again with a new token") from error
            self._sessions[host_id] = session
        try:
            await session.run()
        finally:
            if self._sessions.get(host_id) is session:
                del self._sessions[host_id]
                await session.say_goodbye()

    async def open(self, host_id: HostId, vm_id: VmId, kind: TunnelKind) -> LinkTunnel:
        """:raise Unavailable: `host_unreachable`, `too_many_streams`, `vm_not_on_host`."""
        return await self._session_of(host_id, vm_id).streams.open(vm_id, kind)

    async def profile(self, host_id: HostId, vm_id: VmId, seconds: float) -> ExitProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`, `vm_not_on_host`. :raise Conflict: as the host refused."""
        return await self._session_of(host_id, vm_id).traces.exits(vm_id, seconds)

    async def latency(self, host_id: HostId, vm_id: VmId, seconds: float) -> LatencyProfile:
        """:raise Unavailable: `host_unreachable`, `too_many_traces`, `trace_late`, `vm_not_on_host`. :raise Conflict: as the host refused."""
        return await self._session_of(host_id, vm_id).traces.latency(vm_id, seconds)

    def _session_of(self, host_id: HostId, vm_id: VmId) -> Session:
        session = self._sessions.get(host_id)
        if session is None:
            raise Unavailable("host_unreachable", "the VM's host is not connected to this server: try again when it is back")
        if not session.has(vm_id):
            raise Unavailable("vm_not_on_host", "the VM's host has not been told of it yet: try again in a moment")
        return session

    async def watch(self) -> None:
        """Poke the sessions of hosts of which something changed, until cancelled."""
        store = self._control.store
        since = store.revision
        while True:
            newest = await store.wait(since, WATCH_SECONDS)
            if newest == since:
                continue
            try:
                since = await self._poke_since(since, newest)
            except Stale:
                since = newest
                self._poke_all()
            except HouyiError as error:
                log.warning("watch_failed", code=error.code)
                await self._control.clock.sleep(1.0)

    async def _poke_since(self, since: int, newest: int) -> int:
        last, hosts = await self._control.store.read(lambda c: hosts_of_changes(c, since, newest))
        if hosts is None:
            self._poke_all()
        for host_id in hosts or ():
            session = self._sessions.get(host_id)
            if session is not None:
                session.poke()
        return last

    def _poke_all(self) -> None:
        for session in self._sessions.values():
            session.poke()


async def guarded(socket: Socket, talk: Awaitable[None], **facts: str) -> None:
    """Carry on a conversation; whatever is wrong with it is told to the peer, logged, and ends it."""
    try:
        await talk
    except HouyiError as error:
        log.warning("agent_refused", code=error.code, detail=error.detail, **facts)
        await _refuse(socket, error)
    except (msgspec.DecodeError, TimeoutError) as error:
        log.warning("agent_nonsense", error=str(error), **facts)
        await _refuse(socket, Invalid("message_malformed", "the message cannot be read: are both ends of the same version?"))
    except websockets.ConnectionClosed:
        pass


async def _refuse(socket: Socket, error: HouyiError) -> None:
    with suppress(websockets.ConnectionClosed):
        await socket.send(encode(Refused(problem=error.problem)))
        await socket.close(1008, error.code)
