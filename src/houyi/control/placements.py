"""Placement as commands and reconcilers use it: the fleet as it is now, and the choice for one VM."""

from collections.abc import Sequence

from houyi.base.config import ServerSettings
from houyi.model.host import Host
from houyi.model.placement_group import PlacementGroup
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU
from houyi.model.vm import VmSpec
from houyi.planning.placement.choose import Choice, choose, limits
from houyi.planning.placement.filters import amounts
from houyi.planning.placement.fleet import Fleet, Members, Request


def host_limits(host: Host, settings: ServerSettings) -> dict[str, int]:
    """What may be claimed on a host in all, with this platform's overcommit ratios."""
    ratios = {VCPU: settings.vcpu_overcommit, MEMORY_MIB: settings.memory_overcommit, DISK_GIB: settings.disk_overcommit}
    return limits(host, ratios, settings.memory_reserved_mib)


def fleet_of(hosts: Sequence[Host], settings: ServerSettings, members: Members | None = None) -> Fleet:
    """Hosts as placement sees them."""
    return Fleet(hosts, [host_limits(host, settings) for host in hosts], members)


def request_of(spec: VmSpec, group: PlacementGroup | None = None) -> Request:
    """What a VM asks of its host. :param group: the one that the spec names."""
    return Request(
        asked=amounts(spec),
        labels=spec.host_labels,
        firmware=spec.firmware.value,
        storage=spec.storage,
        cpu_model=spec.cpu_model,
        group=group,
    )


def choose_host(hosts: Sequence[Host], spec: VmSpec, settings: ServerSettings) -> Choice:
    """Where a VM of this spec would go now."""
    return choose(fleet_of(hosts, settings), request_of(spec), packing=settings.placement_packing)
