"""/v1/placement-groups: VMs that shall be near each other, or apart."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Asking, AtDesk, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.placement_group import create_placement_group, delete_placement_group
from houyi.model.placement_group import PlacementGroup as ModelPlacementGroup
from houyi.model.placement_group import PlacementGroupSpec
from houyi.store.views.names import page_with_names, project_of, with_names
from houyi.store.views.news import news_with_names, one_by_one
from houyi.store.views.placement_group import get_placement_group, list_placement_groups
from houyi.wire.v1.placement_group import PlacementGroup, PlacementGroupCreate, PlacementGroupPage, show_placement_group

router = APIRouter(prefix="/v1/placement-groups", tags=["placement-groups"])


@router.get("", response_model=PlacementGroupPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List placement groups, or watch them."""
    if watching.on:
        find = one_by_one(get_placement_group)
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "placement_group", scope, find, project_of), show_placement_group
        )
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_placement_groups(c, scope, page), project_of), show_placement_group)


@router.post("", status_code=201, response_model=PlacementGroup)
async def create(desk: AtDesk, asking: Asking, done: DoneOnce, body: PlacementGroupCreate) -> Response:
    """Make a placement group; VMs are made into it."""
    spec = PlacementGroupSpec(policy=body.policy, strength=body.strength, scope=body.scope)

    def show(group: ModelPlacementGroup) -> PlacementGroup:
        return show_placement_group(group, {asking.project.id: asking.project.name})

    return await done.answer(lambda ctx: create_placement_group(desk.control, ctx, body.name, spec), show, status=201, location="/v1/placement-groups/")


@router.get("/{placement_group}", response_model=PlacementGroup)
async def show(desk: AtDesk, asking: Asking, placement_group: Reference) -> Response:
    """Show a placement group."""
    scope = asking.scope_of(placement_group)
    found = await desk.control.store.read(lambda c: with_names(c, get_placement_group(c, placement_group, scope), project_of))
    return shown(show_placement_group(found.what, found.names))


@router.delete("/{placement_group}", status_code=204)
async def delete(desk: AtDesk, asking: Asking, placement_group: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete a placement group that no VM is in."""
    scope = asking.scope_of(placement_group)
    found = await desk.control.store.read(lambda c: get_placement_group(c, placement_group, scope))
    await delete_placement_group(desk.control, asking.context, found.id, expected=expected(if_match))
    return nothing()
