"""A VM's console: its log, and its serial line and display as websockets. Both go through the tunnels to the VM's host."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Reference, caller_for
from houyi.api.desk import Desk, desk_of
from houyi.api.once import DoneOnce
from houyi.api.problems import problem, request_id_of
from houyi.api.tunnels import Tunnel, TunnelKind
from houyi.base.log import get_log
from houyi.control.commands.ticket import Kind, new_ticket, take_ticket
from houyi.model.errors import Conflict, HouyiError, Unauthenticated, Unavailable
from houyi.model.ids import ProjectId
from houyi.model.token import Token
from houyi.model.vm import Vm
from houyi.store.views.vm import get_vm
from houyi.wire.v1.shape import rfc3339
from houyi.wire.v1.vm import Ticket, TicketCreate

router = APIRouter(prefix="/v1/vms", tags=["vms"])

log = get_log(__name__)

_TUNNELS: dict[Kind, TunnelKind] = {"console": "serial", "vnc": "vnc"}
_REFUSED = 4000
"""Close code of a websocket whose tunnel ended for a reason, which the close reason says as 'code: detail'."""
STILL_SECONDS = 5.0
"""How often it is looked whether the token that opened a console still counts: so long may who was shut out go on."""
_REASON_BYTES_MAX = 123
"""RFC 6455: a control frame holds 125 bytes, two of them the code."""


async def _open(desk: Desk, vm: Vm, kind: TunnelKind) -> Tunnel:
    """:raise Conflict: `vm_has_no_host`, `vm_has_no_display`. :raise Unavailable: `host_unreachable`."""
    if vm.host_id is None:
        raise Conflict("vm_has_no_host", f"VM {vm.desired.name!r} has no host yet: wait until it has one")
    if kind == "vnc" and not vm.desired.spec.video:
        raise Conflict("vm_has_no_display", f"VM {vm.desired.name!r} was made without a display: use its console, or set video and restart it")
    return await desk.tunnels.open(vm.host_id, vm.desired.id, kind)


async def _vm(desk: Desk, reference: str, scope: ProjectId | None) -> Vm:
    return await desk.control.store.read(lambda c: get_vm(c, reference, scope))


@router.get(
    "/{vm}/log", response_class=Response, responses={200: {"description": "What the guest wrote to its serial console.", "content": {"text/plain": {}}}}
)
async def console_log(desk: AtDesk, asking: Asking, vm: Reference) -> Response:
    """The console's log, as the guest wrote it."""
    tunnel = await _open(desk, await _vm(desk, vm, asking.scope_of(vm)), "log")
    try:
        first = await tunnel.read()  # what refuses, refuses before the answer begins
    except BaseException:
        await tunnel.close()
        raise

    async def pieces() -> AsyncIterator[bytes]:
        data = first
        try:
            while data:
                yield data
                data = await tunnel.read()
        finally:
            await tunnel.close()

    return StreamingResponse(pieces(), headers={"Cache-Control": "no-store"}, media_type="text/plain; charset=utf-8")


@router.post("/{vm}/tickets", status_code=201, response_model=Ticket)
async def give_ticket(request: Request, desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: TicketCreate) -> Response:
    """A ticket that opens one websocket of this VM, once, within 30 seconds: ?ticket=..."""
    found = await _vm(desk, vm, asking.scope_of(vm))
    secret = request.headers["authorization"].partition(" ")[2].strip()  # the gate has let it pass
    text, ticket = await new_ticket(desk.control, asking.context, found.desired.id, body.kind, secret, done.key, done.request_sha256)
    return shown(Ticket(ticket=text, expires_at=rfc3339(ticket.expires_at)), 201)


@router.websocket("/{vm}/console")
async def console(
    socket: WebSocket, vm: Reference, ticket: Annotated[str, Query(max_length=256)] = "", project: Annotated[str, Query(max_length=255)] = ""
) -> None:
    """The serial console, both ways, in binary messages."""
    await _serve(socket, vm, ticket, project, "console")


@router.websocket("/{vm}/vnc")
async def vnc(
    socket: WebSocket, vm: Reference, ticket: Annotated[str, Query(max_length=256)] = "", project: Annotated[str, Query(max_length=255)] = ""
) -> None:
    """The display as a raw VNC stream in binary messages, as noVNC speaks it."""
    await _serve(socket, vm, ticket, project, "vnc")


async def _serve(socket: WebSocket, reference: str, ticket: str, project: str, kind: Kind) -> None:
    desk = desk_of(socket)
    try:
        vm, token = await _authorised(socket, desk, reference, ticket, project, kind)
        tunnel = await _open(desk, vm, _TUNNELS[kind])
    except HouyiError as refused:
        await socket.send_denial_response(problem(refused, request_id_of(socket)))
        return
    try:
        await socket.accept(subprotocol="binary" if "binary" in socket.scope.get("subprotocols", ()) else None)
        await _join(socket, tunnel, _as_long_as_allowed(desk, token))
    finally:
        await tunnel.close()


async def _authorised(socket: WebSocket, desk: Desk, reference: str, ticket: str, project: str, kind: Kind) -> tuple[Vm, Token]:
    if ticket:
        used = await take_ticket(desk.control, ticket, kind)
        token = await desk.doorkeeper.asker(used.actor)
        vm = await _vm(desk, used.vm_id, None)
        if reference not in (vm.desired.id, vm.desired.name):
            raise Unauthenticated("ticket_invalid", "this ticket is for another VM: ask for one for this VM")
        return vm, token
    identity = await desk.doorkeeper.who(socket.headers.get("authorization", ""))
    socket.scope["houyi.identity"] = identity
    asking = await caller_for(desk, identity, project, request_id_of(socket))
    return await _vm(desk, reference, asking.scope_of(reference)), identity.token


async def _as_long_as_allowed(desk: Desk, token: Token) -> None:
    """:raise Unauthenticated: `token_invalid`: the token that opened it was revoked or has expired."""
    while True:
        await desk.control.clock.sleep(STILL_SECONDS)
        with suppress(Unavailable):  # the store is away for a moment
            await desk.doorkeeper.check_still(token)


async def _join(socket: WebSocket, tunnel: Tunnel, allowed: Coroutine[Any, Any, None]) -> None:
    """Carry bytes both ways until one side ends, or `allowed` does; then close the websocket with the reason."""
    talks = [asyncio.create_task(talk) for talk in (_down(socket, tunnel), _up(socket, tunnel), allowed)]
    try:
        await asyncio.wait(talks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in talks:
            task.cancel()
        outcomes = await asyncio.gather(*talks, return_exceptions=True)
    refusals = [one for one in outcomes if isinstance(one, HouyiError)]
    for crash in outcomes:
        if isinstance(crash, Exception) and not isinstance(crash, HouyiError | WebSocketDisconnect):
            log.error("console_crashed", error=repr(crash))
    with suppress(RuntimeError, WebSocketDisconnect, OSError):  # the client may have gone
        if refusals:
            reason = f"{refusals[0].code}: {refusals[0].detail}".encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
            await socket.close(_REFUSED, reason)
        else:
            await socket.close(1000)


async def _down(socket: WebSocket, tunnel: Tunnel) -> None:
    while data := await tunnel.read():
        await socket.send_bytes(data)


async def _up(socket: WebSocket, tunnel: Tunnel) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        await tunnel.write(data if data is not None else (message.get("text") or "").encode())
