"""QEMU's monitor (QMP): a greeting, then one command a line, one answer a line, events in between."""

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from houyi.model.errors import Failed, Unavailable

SECONDS = 120.0
"""The longest that is waited for: saving a machine's state."""


class Monitor:
    """`async with Monitor(path) as monitor`. :raise Unavailable: `machine_away`: nobody is at the socket, or he has gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Monitor":
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=1 << 22)
        except OSError as error:
            raise Unavailable("machine_away", f"the machine's monitor {self._path} does not answer ({error.strerror})") from error
        await self._hear()
        await self.ask("qmp_capabilities")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    async def ask(self, command: str, **arguments: object) -> Any:
        """What it returns. :raise Failed: `machine_refused`, with its words."""
        try:
            self._writer.write(
                json.dumps({"execute": command, "arguments": {name.replace("_", "-"): value for name, value in arguments.items()}}).encode() + b"\n"
            )
            async with asyncio.timeout(SECONDS):
                while "event" in (answer := await self._hear()):
                    pass
        except (OSError, TimeoutError) as error:
            raise Unavailable("machine_away", f"the machine's monitor did not answer {command} ({str(error) or 'too late'})") from error
        if "error" in answer:
            raise Failed("machine_refused", f"QEMU refused {command}: {answer['error'].get('desc', '')}")
        return answer.get("return")

    async def tell(self, line: str) -> None:
        """A command of the human monitor: some have no other form. :raise Failed: `machine_refused`: whatever it says in answer is a complaint."""
        said = await self.ask("human-monitor-command", command_line=line)
        if said.strip():
            raise Failed("machine_refused", f"QEMU refused {line.split()[0]}: {said.strip()}")

    async def _hear(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise Unavailable("machine_away", "the machine's monitor has gone: QEMU ended")
        found: dict[str, Any] = json.loads(line)
        return found
