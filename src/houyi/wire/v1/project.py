"""Projects as JSON, and who the caller is."""

from typing import Literal

from pydantic import Field

from houyi.model.project import Project as ModelProject
from houyi.model.token import Role
from houyi.wire.v1.shape import Asked, Id, Page, Revision, Shown, Text, Time, rfc3339


class ProjectCreate(Asked):
    name: Text = Field(description="RFC 1123 label, unique.")


class Project(Shown):
    id: Id
    name: str
    created_at: Time
    revision: Revision


class ProjectPage(Page[Project]):
    """A page of projects."""


def show_project(project: ModelProject) -> Project:
    return Project(id=project.id, name=project.name, created_at=rfc3339(project.created_at), revision=project.revision)


class WhoAmI(Shown):
    """Whose token the request carried, and the project that it acts in."""

    token_id: Id
    token_name: str
    role: Role
    project_id: Id
    project_name: str
    expires_at: Time | None


class About(Shown):
    """What answers here, and where its parts are."""

    name: str
    version: str
    revision: int = Field(description="The store's revision.")
    links: dict[str, str] = Field(description="Name to path.")


class Health(Shown):
    status: Literal["ok"]
