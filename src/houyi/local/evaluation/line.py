"""Commands through a VM's serial console, whose guest keeps a root shell there (the image `bench`): the console is the one way into every VM on every host.

What a command says is kept in the guest and comes over the line in one piece, compressed and with a checksum, once the command has ended: nothing is measured while
the line is busy. A piece that the line has garbled (the kernel speaks there, too) is asked for again.
"""

import asyncio
import base64
import binascii
import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from houyi.local.evaluation.place import Said
from houyi.model.errors import Failed, Unavailable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from houyi.sdk.core import Server

_OPEN_SECONDS = 15.0
_ANSWER_SECONDS = 30.0
"""From the end of a command until all of its output is here."""
_KNOCK_SECONDS = 2.0
_TRIES = 3
_JOB = re.compile(rb"@@job (\d+) (\d+) ([0-9a-f]{32})\s+(.*?)@@end (\d+)", re.DOTALL)
_KEPT_BYTES = 4 << 20
_WORDS_MAX = 3800
"""A terminal's line takes 4,095 bytes."""


class Line:
    """One open console. Use `open_line`."""

    def __init__(self, socket: "ClientConnection") -> None:
        self._socket = socket
        self._heard = bytearray()
        self._number = 0

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        """:raise Failed: `bench_timeout`, `bench_line_garbled`. :raise Unavailable: `console_broken`."""
        self._number += 1
        words = shlex.join(["job", str(self._number), f"{seconds:.0f}", *argv])
        if len(words) > _WORDS_MAX:
            raise Failed("bench_command_long", f"{argv[0]}'s command is longer than a line of a terminal: shorten it")
        await self._say(words)
        for _ in range(_TRIES):
            said = read_job(await self._job(seconds + _ANSWER_SECONDS), self._number)
            if said is not None:
                if said.code == 128 + 9:
                    raise Failed(
                        "bench_timeout", f"{argv[0]} did not end within {seconds:.0f} s in the guest and was killed: give it more, or look why it hangs"
                    )
                return said
            await self._say(f"job again {self._number}")
        raise Failed("bench_line_garbled", "what the guest says arrives garbled: does something else write to its console?")

    async def greet(self, seconds: float) -> None:
        """Until the guest's shell answers, without echo from then on. :raise Failed: `bench_guest_silent`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            await self._say("stty -echo; PS1=; echo @@'here'")
            with suppress(TimeoutError):
                await self._until(re.compile(rb"@@here"), _KNOCK_SECONDS)
                await self._quiet()
                return
        raise Failed("bench_guest_silent", "no shell answers on the VM's serial console: is its image `bench`?")

    async def close(self) -> None:
        await self._socket.close()

    async def _say(self, words: str) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(f"{words}\n".encode())
        except ConnectionClosed as closed:
            raise _broken(closed) from None

    async def _job(self, seconds: float) -> re.Match[bytes]:
        """:raise Failed: `bench_guest_silent`."""
        while True:
            try:
                found = await self._until(_JOB, seconds)
            except TimeoutError:
                raise Failed("bench_guest_silent", f"the guest has said nothing of its job for {seconds:.0f} s: does it still run?") from None
            if int(found[1]) == self._number:
                return found

    async def _quiet(self) -> None:
        """What is still on its way is not for us."""
        with suppress(TimeoutError):
            while True:
                await self._until(re.compile(rb".", re.DOTALL), 0.3)

    async def _until(self, pattern: re.Pattern[bytes], seconds: float) -> re.Match[bytes]:
        """Wait for it, and forget all up to its end. :raise TimeoutError: :raise Unavailable: `console_broken`."""
        from websockets.exceptions import ConnectionClosed

        async with asyncio.timeout(seconds):
            while (found := pattern.search(self._heard)) is None:
                try:
                    data = await self._socket.recv()
                except ConnectionClosed as closed:
                    raise _broken(closed) from None
                self._heard += data if isinstance(data, bytes) else data.encode()
                del self._heard[:-_KEPT_BYTES]
        kept = re.compile(pattern.pattern, pattern.flags).search(bytes(self._heard))
        assert kept is not None
        del self._heard[: found.end()]
        return kept


def read_job(found: re.Match[bytes], number: int) -> Said | None:
    """What the guest's `job` printed; None: it is garbled, or of another job."""
    try:
        packed = bytes(found[4]).replace(b"\r\n", b"\n")
        if hashlib.md5(packed, usedforsecurity=False).hexdigest() != found[3].decode() or int(found[5]) != number:
            return None
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:gz") as whole:
            out, err = (member.read().decode(errors="replace") if (member := whole.extractfile(name)) else "" for name in ("out", "err"))
    except (ValueError, KeyError, OSError, EOFError, tarfile.TarError, binascii.Error):
        return None
    return Said(code=int(found[2]), text=f"{out}\n{err}", complaint=(err.strip() or out.strip())[-2000:])


async def open_line(server: "Server", url: str) -> Line:
    """:raise Unavailable: `console_unreachable`."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    try:
        socket = await connect(
            url,
            ssl=server.tls() if url.startswith("wss:") else None,
            additional_headers=server.headers,
            max_size=None,
            compression=None,
            open_timeout=_OPEN_SECONDS,
            proxy=True if server.through_proxy else None,
        )
    except (OSError, TimeoutError, WebSocketException) as error:
        raise Unavailable("console_unreachable", f"the console cannot be opened ({' '.join(str(error).split())[:200]}): is the VM running?") from None
    return Line(socket)


def _broken(closed: Exception) -> Unavailable:
    return Unavailable("console_broken", f"the console broke off ({' '.join(str(closed).split())[:200]}): look at the VM, and run again")
