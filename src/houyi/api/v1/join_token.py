"""/v1/join-tokens: each lets one host join; administrators only."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, AtDesk, PlainId
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.join_token import create_join_token, delete_join_token
from houyi.control.control import Context
from houyi.model.join_token import JoinToken as ModelJoinToken
from houyi.store.views.join_token import get_join_token, list_join_tokens
from houyi.store.views.news import for_everybody, news_with_names
from houyi.wire.v1.join_token import JoinToken, JoinTokenCreate, JoinTokenCreated, JoinTokenPage, show_join_token

router = APIRouter(prefix="/v1/join-tokens", tags=["join-tokens"])


def _show(token: ModelJoinToken, _names: dict[str, str]) -> JoinToken:
    return show_join_token(token)


@router.get("", response_model=JoinTokenPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Administrator, ask: AskedPage, watching: AskedWatch) -> Response:
    """List join tokens (their secrets are not kept), or watch them."""
    if watching.on:
        find = for_everybody(get_join_token)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "join_token", scope, find, shared=True), _show)
    return await listed(desk, ask, plainly(list_join_tokens), _show)


@router.post("", status_code=201, response_model=JoinTokenCreated)
async def create(desk: AtDesk, _asking: Administrator, done: DoneOnce, body: JoinTokenCreate) -> Response:
    """Make a token that lets one host join. It is shown in this answer and never again."""
    texts: list[str] = []

    async def act(ctx: Context) -> ModelJoinToken:
        token, text = await create_join_token(desk.control, ctx, desk.ca_fingerprint, lifetime_seconds=body.lifetime_seconds)
        texts.append(text)
        return token

    def show(token: ModelJoinToken) -> JoinTokenCreated:
        return JoinTokenCreated(**show_join_token(token).model_dump(), token="")

    def secret(answer: BaseModel) -> BaseModel:
        return answer.model_copy(update={"token": texts[-1]})

    return await done.answer(act, show, status=201, location="/v1/join-tokens/", secret=secret)


@router.get("/{join_token}", response_model=JoinToken)
async def show(desk: AtDesk, _asking: Administrator, join_token: PlainId) -> Response:
    """Show a join token (its secret is not kept)."""
    return shown(show_join_token(await desk.control.store.read(lambda c: get_join_token(c, join_token))))


@router.delete("/{join_token}", status_code=204)
async def revoke(desk: AtDesk, asking: Administrator, join_token: PlainId, if_match: IfMatchHeader = None) -> Response:
    """Revoke a join token."""
    await delete_join_token(desk.control, asking.context, join_token, expected=expected(if_match))
    return nothing()
