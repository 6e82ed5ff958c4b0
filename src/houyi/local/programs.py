"""Which programs make a whole Houyi on one machine, and how to tell that each is ready."""

import asyncio
import contextlib
import sys
from pathlib import Path

from houyi.base.config import Settings
from houyi.local import systemd
from houyi.local.supervisor import Program

LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")
VIRTLOGD_SOCKET = Path("/run/libvirt/virtlogd-sock")
PYTHON = (sys.executable, "-P", "-m", "houyi")
"""-P: a folder named houyi in the current directory is not run as root."""


async def answers_unix(path: Path) -> bool:
    """Whether something listens on the socket."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def answers_tcp(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def join_file(settings: Settings) -> Path:
    """Where the server leaves a join token for the agent of its own machine (mode 0600)."""
    return settings.run_dir / "join.token"


def programs(settings: Settings) -> tuple[Program, ...]:
    """In the order of their start. libvirt's own come only where no systemd runs them, and only if nobody has started them."""

    async def libvirt_ready() -> bool:
        return await answers_unix(LIBVIRT_SOCKET)

    async def virtlogd_ready() -> bool:
        return await answers_unix(VIRTLOGD_SOCKET)

    async def server_ready() -> bool:
        api = await answers_tcp(settings.server.api_host, settings.server.api_port)
        return api and await answers_tcp(settings.server.agents_host, settings.server.agents_port)

    async def agent_ready() -> bool:
        return await answers_tcp(settings.agent.metrics_host, settings.agent.metrics_port)

    libvirt: tuple[Program, ...] = ()
    if not systemd.runs():
        libvirt = (
            Program(name="virtlogd", argv=("/usr/sbin/virtlogd",), ready=virtlogd_ready, pid_path=Path("/run/virtlogd.pid"), outlives=True),
            Program(name="libvirtd", argv=("/usr/sbin/libvirtd",), ready=libvirt_ready, pid_path=Path("/run/libvirtd.pid"), outlives=True),
        )
    return (
        *libvirt,
        Program(name="server", argv=(*PYTHON, "server", "--local-join-file", str(join_file(settings))), ready=server_ready),
        Program(name="agent", argv=(*PYTHON, "agent", "--join-file", str(join_file(settings))), ready=agent_ready),
    )
