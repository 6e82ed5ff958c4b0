"""/v1/vm-types: named sizes. Everybody sees them; administrators change them."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, Asking, AtDesk, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.vm_type import create_vm_type, delete_vm_type, update_vm_type
from houyi.model.vm_type import VmType as ModelVmType
from houyi.store.views.news import for_everybody, news_with_names
from houyi.store.views.vm_type import get_vm_type, list_vm_types
from houyi.wire.v1.vm_type import VmType, VmTypeCreate, VmTypePage, VmTypeUpdate, show_vm_type

router = APIRouter(prefix="/v1/vm-types", tags=["vm-types"])


def _show(vm_type: ModelVmType, _names: dict[str, str]) -> VmType:
    return show_vm_type(vm_type)


@router.get("", response_model=VmTypePage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List VM types, or watch them."""
    if watching.on:
        find = for_everybody(get_vm_type)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "vm_type", scope, find, shared=True), _show)
    return await listed(desk, ask, plainly(list_vm_types), _show)


@router.post("", status_code=201, response_model=VmType)
async def create(desk: AtDesk, _asking: Administrator, done: DoneOnce, body: VmTypeCreate) -> Response:
    """Make a VM type."""
    return await done.answer(
        lambda ctx: create_vm_type(desk.control, ctx, body.name, body.vcpus, body.memory_mib, body.disk_gib, body.profile),
        show_vm_type,
        status=201,
        location="/v1/vm-types/",
    )


@router.get("/{vm_type}", response_model=VmType)
async def show(desk: AtDesk, _asking: Asking, vm_type: Reference) -> Response:
    """Show a VM type."""
    return shown(show_vm_type(await desk.control.store.read(lambda c: get_vm_type(c, vm_type))))


@router.patch("/{vm_type}", response_model=VmType)
async def update(desk: AtDesk, asking: Administrator, vm_type: Reference, body: VmTypeUpdate, if_match: IfMatchHeader = None) -> Response:
    """Change a VM type; VMs that were made from it keep their size."""
    changed = await update_vm_type(
        desk.control,
        asking.context,
        vm_type,
        name=body.name,
        vcpus=body.vcpus,
        memory_mib=body.memory_mib,
        disk_gib=body.disk_gib,
        profile=body.profile,
        expected=expected(if_match),
    )
    return shown(show_vm_type(changed))


@router.delete("/{vm_type}", status_code=204)
async def delete(desk: AtDesk, asking: Administrator, vm_type: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete a VM type; VMs that were made from it keep their size."""
    await delete_vm_type(desk.control, asking.context, vm_type, expected=expected(if_match))
    return nothing()
