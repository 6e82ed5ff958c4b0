"""What may be asked of projects; administrators only, which the API checks."""

from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Conflict
from houyi.model.ids import ProjectId
from houyi.model.names import check_name
from houyi.model.project import Project
from houyi.store.rows.project import delete_project as delete_project_row
from houyi.store.rows.project import insert_project
from houyi.store.views.project import get_project

BUILT_IN = "default"
"""The project of the first administrator: who deleted it would lock themselves out."""


async def create_project(control: Control, ctx: Context, name: str) -> Project:
    """:raise Invalid: `name_invalid`. :raise Conflict: `name_taken`."""
    project = Project(id=ProjectId(control.ids.new()), name=check_name(name), created_at=control.clock.now(), revision=control.store.revision)
    event = new_event(control, ctx, "project.create", project.id, name, "created", project_id=project.id)
    await control.store.apply([insert_project(project), event, *remembered(control, ctx, project)])
    return await control.store.read(lambda c: get_project(c, project.id))


async def delete_project(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """Its tokens and keys go with it. :raise Conflict: `project_in_use` while it has VMs, images or networks; `project_built_in`."""
    project = await control.store.read(lambda c: get_project(c, reference))
    if project.name == BUILT_IN:
        raise Conflict("project_built_in", f"project {project.name!r} is the platform's own: it holds the first administrator's token")
    event = new_event(control, ctx, "project.delete", project.id, project.name, "deleted", project_id=None)
    try:
        await control.store.apply([delete_project_row(project.id), event], as_expected(lambda c: get_project(c, project.id), expected))
    except Conflict as used:
        if used.code != "in_use":
            raise
        raise Conflict("project_in_use", f"project {project.name!r} has VMs, images, networks or open operations: delete them first") from None
