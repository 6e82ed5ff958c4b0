"""Placement as commands and reconcilers use it: the fleet as it is now, and the choice for one VM."""

from collections.abc import Sequence

from houyi.base.config import ServerSettings
from houyi.model.host import Host
from houyi.model.vm import VmSpec
from houyi.planning.placement.choose import Choice, choose, limits
from houyi.planning.placement.filters import Fleet, Request, amounts


def host_limits(host: Host, settings: ServerSettings) -> dict[str, int]:
    """What may be claimed on a host in all, with this platform's overcommit ratios."""
    return limits(
        host,
        vcpu=settings.vcpu_overcommit,
        memory=settings.memory_overcommit,
        disk=settings.disk_overcommit,
        memory_reserved_mib=settings.memory_reserved_mib,
    )


def choose_host(hosts: Sequence[Host], spec: VmSpec, settings: ServerSettings) -> Choice:
    """Where a VM of this spec would go now."""
    fleet = Fleet(hosts=hosts, limits=[host_limits(host, settings) for host in hosts])
    return choose(fleet, Request(asked=amounts(spec), firmware=spec.firmware.value))
