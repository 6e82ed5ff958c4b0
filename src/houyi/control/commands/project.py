"""What may be asked of projects; administrators only, which the API checks."""

from houyi.control.control import Context, Control, new_event, remembered
from houyi.model.ids import ProjectId
from houyi.model.names import check_name
from houyi.model.project import Project
from houyi.store.rows.project import delete_project as delete_project_row
from houyi.store.rows.project import insert_project
from houyi.store.views.project import get_project


async def create_project(control: Control, ctx: Context, name: str) -> Project:
    """:raise Invalid: `name_invalid`. :raise Conflict: `name_taken`."""
    project = Project(id=ProjectId(control.ids.new()), name=check_name(name), created_at=control.clock.now(), revision=control.store.revision)
    event = new_event(control, ctx, "project.create", project.id, name, "created", project_id=project.id)
    await control.store.apply([insert_project(project), event, *remembered(control, ctx, project)])
    return await control.store.read(lambda c: get_project(c, project.id))


async def delete_project(control: Control, ctx: Context, reference: str) -> None:
    """Its tokens and keys go with it. :raise Conflict: `in_use` while it has VMs, images or networks."""
    project = await control.store.read(lambda c: get_project(c, reference))
    await control.store.apply([delete_project_row(project.id), new_event(control, ctx, "project.delete", project.id, project.name, "deleted", project_id=None)])
