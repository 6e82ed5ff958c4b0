"""The agent put together: identity, the accelerator by trial, the real machine. And the machine alone, for `houyi down`."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from houyi.agent.agent import forget_token, join_platform, read_token, run_agent
from houyi.agent.parting import expect_restart, put_back_knobs
from houyi.base.clock import SystemClock
from houyi.base.config import Settings
from houyi.base.ids import RandomIds
from houyi.base.log import get_log
from houyi.host.disk.shared import storage_ids
from houyi.host.port import Ports
from houyi.host.probe.probe import RealProbe, choose_accelerator
from houyi.host.real import open_ports
from houyi.host.tuning.levers import levers
from houyi.local.down import take_down
from houyi.model.errors import Unavailable
from houyi.model.host import Accelerator, AcceleratorProbe

log = get_log(__name__)


async def host(settings: Settings, join_file: Path | None) -> None:
    """Join if need be, open the machine as soon as libvirt answers, and go."""

    clock = SystemClock()
    token = await asyncio.to_thread(read_token, join_file, sys.stdin)
    if token and await join_platform(settings, token, clock, settings.agent.host_name or _short_name()):
        await asyncio.to_thread(forget_token, join_file)
    probe = await choose_accelerator(settings.agent.accelerator, settings.agent.probe_seconds)
    while True:
        try:
            ports = await _open(settings, probe)
            break
        except Unavailable as away:
            log.warning("libvirt_away", detail=away.detail)
            await clock.sleep(1.0)
    try:
        await run_agent(settings, ports, clock, RandomIds())
    finally:
        await ports.close()


async def take_host_down(settings: Settings, tell: Callable[[str], None], *, purge: bool) -> None:
    """`houyi down` on this machine: no VM is started there, so the accelerator does not matter and nothing is tried."""
    anything = AcceleratorProbe(accelerator=Accelerator.QEMU, verdict="forced", reason="only stopping")

    async def ports() -> Ports:
        return await _open(settings, anything)

    def part() -> None:
        ledger = settings.state_dir / "agent" / "ledger"
        expect_restart(ledger)
        put_back_knobs(ledger, levers())

    await take_down(settings, ports, part, tell, purge=purge)


async def _open(settings: Settings, probe: AcceleratorProbe) -> Ports:
    return await open_ports(
        settings,
        SystemClock(),
        lambda: probe.accelerator,
        lambda facts: RealProbe(
            probe, settings.state_dir, facts, memory_mib=settings.agent.memory_mib, storages=lambda: storage_ids(settings.agent.shared_dirs)
        ),
    )


def _short_name() -> str:
    """This machine's name as an RFC 1123 label, by which its host is known unless the settings say otherwise."""
    label = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname().split(".")[0].lower()).strip("-")
    return label[:63] or f"host-{os.getpid()}"
