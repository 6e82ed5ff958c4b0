"""Placement as commands and reconcilers use it: the fleet as it is now, and the choice for one VM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from houyi.base.config import ServerSettings
from houyi.control.control import Control
from houyi.model.host import Host
from houyi.model.ids import HostId, PlacementGroupId, VmId
from houyi.model.placement_group import PlacementGroup
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU
from houyi.model.vm import Vm, VmSpec
from houyi.planning.placement.choose import Choice, choose, limits
from houyi.planning.placement.filters import amounts
from houyi.planning.placement.fleet import Fleet, Members, Request
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING
from houyi.store.views.placement_group import members_by_host, placement_groups_by_id
from houyi.store.views.vm import held_by


def host_limits(host: Host, settings: ServerSettings) -> dict[str, int]:
    """What may be claimed on a host in all, with this platform's overcommit ratios."""
    ratios = {VCPU: settings.vcpu_overcommit, MEMORY_MIB: settings.memory_overcommit, DISK_GIB: settings.disk_overcommit}
    return limits(host, ratios, settings.memory_reserved_mib)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where VMs could go: the hosts, and who of their groups is where, at one moment."""

    hosts: Sequence[Host]
    groups: Mapping[PlacementGroupId, PlacementGroup]
    members: Members
    settings: ServerSettings

    def fleet(self) -> Fleet:
        return Fleet(self.hosts, [host_limits(host, self.settings) for host in self.hosts], self.members)

    def request(self, spec: VmSpec, among: Iterable[HostId] | None = None) -> Request:
        """What a VM asks of its host. :param among: the only hosts that come into question."""
        return Request(
            asked=amounts(spec),
            labels=spec.host_labels,
            firmware=spec.firmware.value,
            storage=spec.storage,
            cpu_model=spec.cpu_model,
            cpu_features=spec.cpu_features,
            knobs=spec.knobs,
            pool_id=spec.pool_id,
            group=None if spec.placement_group_id is None else self.groups.get(spec.placement_group_id),
            among=None if among is None else frozenset(among),
        )

    def choose(self, request: Request, fleet: Fleet | None = None) -> Choice:
        """Where it would go. :param fleet: this ground's, if it has taken VMs meanwhile."""
        return choose(self.fleet() if fleet is None else fleet, request, packing=self.settings.placement_packing)


async def look(control: Control, specs: Iterable[VmSpec], *, without: VmId | None = None) -> Ground:
    """In one consistent snapshot. :param without: a VM that is placed anew, and so does not count where it is."""
    groups = {spec.placement_group_id for spec in specs if spec.placement_group_id is not None}
    hosts, known, members = await control.store.read(
        lambda c: (list_hosts(c, EVERYTHING).items, placement_groups_by_id(c, groups), members_by_host(c, groups, without))
    )
    return Ground(hosts, known, members, control.settings.server)


async def explain(control: Control, vm: Vm) -> Choice:
    """Where a VM would go now. What it holds where it is counts as free, and it is no member of its group."""
    ground = await look(control, [vm.desired.spec], without=vm.desired.id)
    request, fleet = ground.request(vm.desired.spec), ground.fleet()
    if vm.host_id is not None and vm.host_id in fleet.rows:
        held = await control.store.read(lambda c: held_by(c, vm.desired.id))
        fleet.take(vm.host_id, {name: -amount for name, amount in held.items()})
    return ground.choose(request, fleet)
