"""/v1/vms/{vm}/placement: where a VM would go, host by host."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Caller, Reference
from houyi.control.placements import explain
from houyi.planning.placement.choose import Choice
from houyi.store.views.names import names_of
from houyi.store.views.vm import get_vm
from houyi.wire.v1.placement import HostLook, Placement

router = APIRouter(prefix="/v1/vms", tags=["vms"])


@router.get("/{vm}/placement", response_model=Placement)
async def placement(desk: AtDesk, asking: Asking, vm: Reference) -> Response:
    """Show where a VM would be placed now, and why."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    choice = await explain(desk.control, found)
    names = await desk.control.store.read(lambda c: names_of(c, [choice.host_id, found.host_id]))
    return shown(
        Placement(
            vm_id=found.desired.id,
            vm_name=found.desired.name,
            at_host_id=found.host_id,
            at_host_name=names.get(found.host_id, "") if found.host_id else None,
            host_id=choice.host_id,
            host_name=names.get(choice.host_id, "") if choice.host_id else None,
            why_not="" if choice.host_id else choice.why_not,
            asked=dict(choice.request.asked),
            left=dict(choice.left),
            removed=dict(choice.removed),
            hosts=looks(choice, asking),
        )
    )


def looks(choice: Choice, asking: Caller) -> list[HostLook] | None:
    """Hosts are administrators' business: members see how many each filter took out."""
    return [HostLook.model_validate(look, from_attributes=True) for look in choice.table()] if asking.is_admin else None
