"""/v1/projects: everybody sees their own; administrators see all, make them and delete them."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, Asking, AtDesk, Caller, Reference
from houyi.api.desk import Desk
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.project import create_project, delete_project
from houyi.model.errors import NotFound
from houyi.model.project import Project as ModelProject
from houyi.store.views.news import find_projects, news_with_names
from houyi.store.views.project import get_project, list_projects
from houyi.wire.v1.project import Project, ProjectCreate, ProjectPage, show_project

router = APIRouter(prefix="/v1/projects", tags=["projects"])


def _show(project: ModelProject, _names: dict[str, str]) -> Project:
    return show_project(project)


@router.get("", response_model=ProjectPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List projects, or watch them; members see their own."""

    def keep(project: Project) -> bool:
        return project.id == asking.scope

    filtered = None if asking.scope is None else keep
    if watching.on:
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "project", scope, find_projects), _show)
    return await listed(desk, ask, plainly(list_projects), _show, filtered)


@router.post("", status_code=201, response_model=Project)
async def create(desk: AtDesk, _asking: Administrator, done: DoneOnce, body: ProjectCreate) -> Response:
    """Make a project."""
    return await done.answer(lambda ctx: create_project(desk.control, ctx, body.name), show_project, status=201, location="/v1/projects/")


@router.get("/{name}", response_model=Project)
async def show(desk: AtDesk, asking: Asking, name: Reference) -> Response:
    """Show a project."""
    return shown(show_project(await _visible(desk, asking, name)))


async def _visible(desk: Desk, asking: Caller, reference: str) -> ModelProject:
    if not asking.is_admin and reference not in (asking.project.id, asking.project.name):
        raise NotFound("project_not_found", f"there is no project {reference!r}")
    return await desk.control.store.read(lambda c: get_project(c, reference))


@router.delete("/{name}", status_code=204)
async def delete(desk: AtDesk, asking: Administrator, name: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete an empty project, with its tokens and keys."""
    await delete_project(desk.control, asking.context, name, expected=expected(if_match))
    desk.doorkeeper.forget()
    return nothing()
