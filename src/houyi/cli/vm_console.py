"""`houyi vm console`, `log` and `vnc`: byte streams between the user and a VM, over websockets of the API.

The serial console is raw: every key but the escape goes to the guest. A pipe works as well: what comes in is sent, what the guest says is printed.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli.output import Format, note, write_data
from houyi.cli.session import OPTIONS, Options, Seconds, connect
from houyi.model.errors import Conflict, Failed, HouyiError, NotFound, Unavailable
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from houyi.sdk.core import Server
    from houyi.sdk.transport import Transport

ESCAPE = b"\x1d"
"""Ctrl-], as telnet and virsh have it."""
_READ_BYTES = 1 << 16
_OPEN_SECONDS = 15.0
_NORMAL = (1000, 1001)
"""Websocket close codes of an end without a reason."""

_KINDS: Mapping[str, type[HouyiError]] = {"not_running": Conflict, "no_video": Conflict, "vm_not_found": NotFound, "host_unreachable": Unavailable}
"""A close reason has room for a code, not for its class: those that are no failure."""

Name = Annotated[str, Parameter(help="Name or id of the VM.")]


def console(
    name: Name,
    /,
    *,
    idle: Annotated[Seconds, Parameter(help="When stdin is no terminal: leave when the guest has been silent this long after its end.")] = 2.0,
    options: Options = OPTIONS,
) -> None:
    """Open a VM's serial console; Ctrl-] leaves it. With a pipe for stdin, send it and print what the guest says."""
    with connect(options) as api:
        server = api.server
        socket = server.websocket_url(path("vms", name, "console"))
    terminal = sys.stdin.isatty()
    if terminal:
        size = os.get_terminal_size(sys.stdin.fileno())
        note(f"console of {name}: Ctrl-] leaves; for this window's size say `stty rows {size.lines} columns {size.columns}` in the guest")
    from houyi.cli.terminal import raw

    with raw(sys.stdin.fileno()) if terminal else nullcontext():
        asyncio.run(_converse(server, socket, terminal, idle))
    if terminal:
        note(f"left the console of {name}; it runs on")


def log(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Print what a VM has said on its serial console so far."""
    with connect(options) as api:
        content: bytes = api.content(path("vms", name, "log"))
    if options.output is not Format.TABLE:
        write_data({"log": content.decode(errors="replace")}, options.output)
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def vnc(
    name: Name,
    /,
    *,
    port: Annotated[int, Parameter(help="TCP port on this machine for VNC viewers; 0: any free one.")] = 0,
    listen: Annotated[bool, Parameter(help="Stay and let VNC viewers connect; without, only print the websocket URL.")] = True,
    options: Options = OPTIONS,
) -> None:
    """Let VNC viewers on this machine see a VM's display, until interrupted; also print the websocket URL for noVNC, good for one connection."""
    with connect(options) as api:
        url = ticket_url(api, name)
        if not listen:
            if options.output is Format.TABLE:
                print(url)  # noqa: T201 - what was asked for
            else:
                write_data({"url": url}, options.output)
            return
        with suppress(KeyboardInterrupt):
            asyncio.run(_listen(api, name, port, url, options))


def ticket_url(api: "Transport", name: str) -> str:
    """The URL of a VM's display that opens it once, soon: browsers can send no header, so a ticket is in it."""
    answer = api.request("POST", path("vms", name, "tickets"), body={"kind": "vnc"})
    return api.server.websocket_url(path("vms", name, "vnc"), ticket=str(answer["ticket"]))


async def _opened(server: "Server", url: str) -> "ClientConnection":
    """:raise HouyiError: as the server refuses it. :raise Unavailable: `console_unreachable`."""
    from websockets.asyncio.client import connect as dial
    from websockets.exceptions import InvalidStatus, WebSocketException

    try:
        return await dial(
            url,
            ssl=server.tls() if url.startswith("wss:") else None,
            additional_headers=server.headers,
            max_size=None,
            compression=None,
            open_timeout=_OPEN_SECONDS,
            proxy=True if server.through_proxy else None,
        )
    except InvalidStatus as refused:
        from houyi.sdk.problems import problem_error

        raise problem_error(refused.response.status_code, bytes(refused.response.body or b"")) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        raise Unavailable("console_unreachable", f"the console cannot be opened ({' '.join(str(error).split())[:200]}): is the VM running?") from None


async def _converse(server: "Server", url: str, terminal: bool, idle: float) -> None:
    """Both ways until the guest, the server or the user ends it. :raise HouyiError: the reason, when the other side says one."""
    socket = await _opened(server, url)
    line = _Line(asyncio.get_running_loop(), socket, terminal)
    async with socket:
        sending = asyncio.create_task(line.send())
        receiving = asyncio.create_task(_print(socket, line))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not terminal:
                await _silence(line, receiving, idle)
        finally:
            sending.cancel()
            receiving.cancel()
            results = await asyncio.gather(sending, receiving, return_exceptions=True)
    for result in results:
        if isinstance(result, HouyiError):
            raise result


@dataclass(slots=True)
class _Line:
    """What is shared by both directions of one conversation."""

    loop: asyncio.AbstractEventLoop
    socket: "ClientConnection"
    terminal: bool
    heard: bool = False

    async def send(self) -> None:
        """stdin to the guest, until its end or the escape.

        Read in a thread of its own, since a file or a device cannot always be waited for; it takes the next bytes only when these are sent.
        """
        ended = asyncio.Event()
        threading.Thread(target=self._read, args=(ended,), daemon=True).start()
        await ended.wait()

    def _read(self, ended: asyncio.Event) -> None:
        from websockets.exceptions import ConnectionClosed

        with suppress(OSError, RuntimeError, ConnectionClosed, asyncio.CancelledError):
            while data := os.read(sys.stdin.fileno(), _READ_BYTES):
                before, escape, _ = data.partition(ESCAPE) if self.terminal else (data, b"", b"")
                if before:
                    asyncio.run_coroutine_threadsafe(self.socket.send(before), self.loop).result()
                if escape:
                    break
        with suppress(RuntimeError):  # the loop may be closed by now: then nobody waits
            self.loop.call_soon_threadsafe(ended.set)


async def _print(socket: "ClientConnection", line: _Line) -> None:
    """The guest to stdout, until it ends. :raise HouyiError: the reason that the server gives."""
    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            data = await socket.recv()
            line.heard = True
            await asyncio.to_thread(_write_all, data if isinstance(data, bytes) else data.encode())
    except ConnectionClosed:
        reason = reason_of(socket.close_code, socket.close_reason or "")
        if reason is not None:
            raise reason from None


def reason_of(code: int | None, reason: str) -> HouyiError | None:
    """Why a console ended, when it was not simply over. The server's reason is 'code: detail'."""
    if code in _NORMAL:
        return None
    short, colon, detail = reason.partition(": ")
    if colon and short.replace("_", "").isalnum():
        return _KINDS.get(short, Failed)(short, detail)
    return Unavailable("console_broken", f"the console broke off ({reason or code}): open it again")


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


async def _silence(line: _Line, receiving: "asyncio.Task[None]", idle: float) -> None:
    """Until nothing has come for `idle` seconds, or it is over."""
    line.heard = True
    while line.heard and not receiving.done():
        line.heard = False
        await asyncio.wait({receiving}, timeout=idle)


async def _listen(api: "Transport", name: str, port: int, url: str, options: Options) -> None:
    """Serve VNC viewers on loopback; each gets a websocket of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            socket = await _opened(api.server, api.server.websocket_url(path("vms", name, "vnc")))
            async with socket:
                await bridge(socket, reader, writer)
        except HouyiError as error:
            note(f"a viewer could not be connected: {error.detail} ({error.code})")
        except asyncio.CancelledError:
            return  # we end; asyncio's streams would complain about a viewer's task that was cancelled
        finally:
            writer.close()

    try:
        listener = await asyncio.start_server(serve, "127.0.0.1", port)
    except OSError as error:
        raise Failed("vnc_port_taken", f"cannot listen on 127.0.0.1:{port} ({error.strerror}): choose another --port") from None
    chosen = listener.sockets[0].getsockname()[1]
    if options.output is Format.TABLE:
        note(f"display of {name}: connect a VNC viewer to 127.0.0.1:{chosen}; for noVNC (once): {url}")
        note("Ctrl-C ends this")
    else:
        write_data({"host": "127.0.0.1", "port": chosen, "url": url}, options.output)
    async with listener:
        await listener.serve_forever()


async def bridge(socket: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes both ways between a websocket and a TCP connection, until either ends."""
    from websockets.exceptions import ConnectionClosed

    async def up() -> None:
        while data := await reader.read(_READ_BYTES):
            await socket.send(data)

    async def down() -> None:
        async for data in socket:
            writer.write(data)
            await writer.drain()

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, OSError | ConnectionClosed | asyncio.CancelledError):
                raise result
