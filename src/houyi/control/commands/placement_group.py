"""What may be asked of placement groups. A group never changes: its VMs were placed by what it says."""

from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Conflict
from houyi.model.ids import PlacementGroupId
from houyi.model.names import check_name
from houyi.model.placement_group import PlacementGroup, PlacementGroupSpec
from houyi.store.rows.placement_group import delete_placement_group as delete_row
from houyi.store.rows.placement_group import insert_placement_group
from houyi.store.views.placement_group import get_placement_group


async def create_placement_group(control: Control, ctx: Context, name: str, spec: PlacementGroupSpec) -> PlacementGroup:
    """:raise Invalid: `name_invalid`. :raise Conflict: `name_taken`."""
    group = PlacementGroup(
        id=PlacementGroupId(control.ids.new()),
        project_id=ctx.project_id,
        name=check_name(name),
        spec=spec,
        created_at=control.clock.now(),
        revision=control.store.revision,
    )
    detail = f"{spec.strength.value} {spec.policy.value} of {spec.scope.value}s"
    event = new_event(control, ctx, "placement_group.create", group.id, name, detail, project_id=ctx.project_id)
    await control.store.apply([insert_placement_group(group), event, *remembered(control, ctx, group)])
    return await control.store.read(lambda c: get_placement_group(c, group.id, ctx.project_id))


async def delete_placement_group(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """:raise Conflict: `placement_group_in_use`: a VM is in it."""
    group = await control.store.read(lambda c: get_placement_group(c, reference, ctx.scope))
    event = new_event(control, ctx, "placement_group.delete", group.id, group.name, "deleted", project_id=group.project_id)
    try:
        await control.store.apply([delete_row(group), event], as_expected(lambda c: get_placement_group(c, group.id, None), expected))
    except Conflict as used:
        if used.code != "in_use":
            raise
        raise Conflict("placement_group_in_use", f"VMs are in placement group {group.name!r}: delete them first") from None
