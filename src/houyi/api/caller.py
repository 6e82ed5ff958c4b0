"""Who asks, and what they may see: the token that the gate has verified, and the project that the request acts in."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query
from starlette.requests import HTTPConnection, Request

from houyi.api.desk import Desk, desk_of
from houyi.api.doorkeeper import Identity
from houyi.api.problems import request_id_of
from houyi.control.control import Context
from houyi.model.errors import Forbidden, NotFound
from houyi.model.ids import ProjectId
from houyi.model.names import is_id
from houyi.model.project import Project
from houyi.model.token import Role, Token
from houyi.store.views.project import get_project

Reference = Annotated[str, Path(description="Name or id.", min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
PlainId = Annotated[str, Path(description="Id.", min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Filter = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True, slots=True)
class Caller:
    token: Token
    project: Project
    """Where names are looked up and things are made."""
    narrowed: bool
    """Whether `?project=` was given: an administrator then sees that project only."""
    request_id: str

    @property
    def is_admin(self) -> bool:
        return self.token.role is Role.ADMIN

    @property
    def context(self) -> Context:
        return Context(actor=f"token:{self.token.id}", project_id=self.project.id, role=self.token.role, request_id=self.request_id)

    @property
    def scope(self) -> ProjectId | None:
        """What lists and watches show: one project, or (None) everything."""
        return None if self.is_admin and not self.narrowed else self.project.id

    def scope_of(self, reference: str) -> ProjectId | None:
        """Where a name or id is looked up. A name means this project's, also to an administrator who may see others of the same name."""
        return self.scope if is_id(reference) else self.project.id


def identity_of(connection: HTTPConnection) -> Identity:
    """What the gate has found; it lets nobody pass without."""
    identity = connection.scope["houyi.identity"]
    assert isinstance(identity, Identity)
    return identity


async def caller(
    request: Request,
    project: Annotated[str, Query(description="Name or id of the project to act in; administrators only.", max_length=255, pattern=r"^[^\x00]*$")] = "",
) -> Caller:
    """:raise NotFound: `project_not_found`: also where it is another's."""
    return await caller_for(desk_of(request), identity_of(request), project, request_id_of(request))


async def caller_for(desk: Desk, identity: Identity, project: str, request_id: str) -> Caller:
    return Caller(identity.token, await acting_project(desk, identity, project), bool(project), request_id)


async def acting_project(desk: Desk, identity: Identity, reference: str) -> Project:
    """:raise NotFound: `project_not_found`."""
    if reference in ("", identity.project.id, identity.project.name):
        return identity.project
    if identity.token.role is not Role.ADMIN:
        raise NotFound("project_not_found", f"there is no project {reference!r}")
    return await desk.control.store.read(lambda c: get_project(c, reference))


Asking = Annotated[Caller, Depends(caller)]


async def administrator(asking: Asking) -> Caller:
    """:raise Forbidden: `admin_only`."""
    if not asking.is_admin:
        raise Forbidden("admin_only", "only administrators may do that: ask one")
    return asking


Administrator = Annotated[Caller, Depends(administrator)]
AtDesk = Annotated[Desk, Depends(desk_of)]
