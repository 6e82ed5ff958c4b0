"""A drain's plan as commands and the reconciler use it: made from what the store says now."""

from houyi.control.control import Control
from houyi.control.forecasts import look_back, terms_of
from houyi.control.placements import look
from houyi.model.host import Host
from houyi.model.ids import HostId
from houyi.model.migration import Forecast, MigrationKind
from houyi.model.vm import Vm
from houyi.planning.drain import DrainPlan, Guest, plan_drain
from houyi.planning.migration.experience import foretell
from houyi.store.views.vm import held_by, vms_of_host

REASON = "drain"
"""Why a drain's moves were asked for: by it they are found again."""


async def foresee(control: Control, host: Host) -> DrainPlan:
    """Where the VMs of a host would go now. VMs that are to be deleted go by themselves, and are no part of it."""
    found = await control.store.read(lambda c: [(vm, held_by(c, vm.desired.id)) for vm in vms_of_host(c, host.id) if not vm.desired.deleted])
    ground = await look(control, [vm.desired.spec for vm, _ in found])
    known = await look_back(control, [vm.desired.id for vm, _ in found])

    def expected(vm: Vm, kind: MigrationKind, to: HostId) -> Forecast | None:
        return foretell(vm, host.id, to, terms_of(control, vm.desired.spec), known) if kind is MigrationKind.LIVE else None

    guests = [Guest(vm=vm, request=ground.request(vm.desired.spec), held=held) for vm, held in found]
    return plan_drain(host, guests, ground.fleet(), expected, packing=control.settings.server.placement_packing)
