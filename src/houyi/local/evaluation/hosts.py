"""Which host of the cloud VMs are made on, and whether that is this machine."""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from houyi.host.probe.machine import MachineFiles
from houyi.model.errors import Invalid, NotFound
from houyi.sdk import AsyncClient
from houyi.wire.v1.host import Host, HostUpdate

LABEL = "houyi-bench"


def is_here(host: Host) -> bool:
    """Whether it is the machine that we run on: of one name, and started at the same time."""
    facts = host.facts
    return facts is not None and facts.hostname == platform.node() and facts.boot_id == MachineFiles().boot_id()


async def find_host(api: AsyncClient, name: str) -> Host:
    """By name or id; '': this machine, else the only one there is. :raise NotFound: `host_not_found`. :raise Invalid: `bench_host_unclear`."""
    hosts = [host async for host in api.hosts.list()]
    if name:
        found = next((host for host in hosts if name in (host.name, host.id)), None)
        if found is None:
            raise NotFound("host_not_found", f"there is no host {name[:64]!r}: see `houyi host list`")
        return found
    here = [host for host in hosts if is_here(host)]
    if len(here) == 1 or len(hosts) == 1:
        return (here or hosts)[0]
    raise Invalid("bench_host_unclear", "this machine is not one host of the platform, and there are several: name one with --host")


@asynccontextmanager
async def bound(api: AsyncClient, host: Host, run: str) -> AsyncIterator[dict[str, str]]:
    """Labels by which VMs come to this host only; the host has them for that long."""
    await api.hosts.update(host.id, HostUpdate(labels={**host.labels, LABEL: run}))
    try:
        yield {LABEL: run}
    finally:
        now = await api.hosts.show(host.id)
        await api.hosts.update(host.id, HostUpdate(labels={key: value for key, value in now.labels.items() if key != LABEL}))
