"""/v1/tokens: who may use the API. Members see their project's, and make members' tokens for it."""

from dataclasses import replace

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Asking, AtDesk, Reference, acting_project, identity_of
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.token import create_token, revoke_token
from houyi.control.control import Context
from houyi.model.token import Token as ModelToken
from houyi.store.views.names import page_with_names, project_of, with_names
from houyi.store.views.news import news_with_names, one_by_one
from houyi.store.views.token import get_token, list_tokens
from houyi.wire.v1.token import Token, TokenCreate, TokenCreated, TokenPage, show_token

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", response_model=TokenPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List tokens (their secrets are not kept), or watch them."""
    if watching.on:
        find = one_by_one(get_token)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "token", scope, find, project_of), show_token)
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_tokens(c, scope, page), project_of), show_token)


@router.post("", status_code=201, response_model=TokenCreated)
async def create(request: Request, desk: AtDesk, asking: Asking, done: DoneOnce, body: TokenCreate) -> Response:
    """Make a token. It is shown in this answer and never again."""
    project = await acting_project(desk, identity_of(request), body.project) if body.project else asking.project
    texts: list[str] = []

    async def act(ctx: Context) -> ModelToken:
        token, text = await create_token(desk.control, replace(ctx, project_id=project.id), body.name, body.role, lifetime_seconds=body.lifetime_seconds)
        texts.append(text)
        return token

    def show(token: ModelToken) -> TokenCreated:
        return TokenCreated(**show_token(token, {project.id: project.name}).model_dump(), token="")

    def secret(answer: BaseModel) -> BaseModel:
        return answer.model_copy(update={"token": texts[-1]})

    return await done.answer(act, show, status=201, location="/v1/tokens/", secret=secret)


@router.get("/{token}", response_model=Token)
async def show(desk: AtDesk, asking: Asking, token: Reference) -> Response:
    """Show a token (its secret is not kept)."""
    scope = asking.scope_of(token)
    found = await desk.control.store.read(lambda c: with_names(c, get_token(c, token, scope), project_of))
    return shown(show_token(found.what, found.names))


@router.delete("/{token}", status_code=204)
async def revoke(desk: AtDesk, asking: Asking, token: Reference, if_match: IfMatchHeader = None) -> Response:
    """Revoke a token: it is refused from now on."""
    scope = asking.scope_of(token)
    found = await desk.control.store.read(lambda c: get_token(c, token, scope))
    try:
        await revoke_token(desk.control, asking.context, found.id, expected=expected(if_match))
    finally:
        desk.doorkeeper.forget()
    return nothing()
