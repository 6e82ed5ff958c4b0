"""/v1/ssh-keys: public keys that are put into guests."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Asking, AtDesk, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.ssh_key import create_ssh_key, delete_ssh_key
from houyi.model.ssh_key import SshKey as ModelSshKey
from houyi.store.views.names import page_with_names, project_of, with_names
from houyi.store.views.news import news_with_names, one_by_one
from houyi.store.views.ssh_key import get_ssh_key, list_ssh_keys
from houyi.wire.v1.ssh_key import SshKey, SshKeyCreate, SshKeyPage, show_ssh_key

router = APIRouter(prefix="/v1/ssh-keys", tags=["ssh-keys"])


@router.get("", response_model=SshKeyPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List SSH keys, or watch them."""
    if watching.on:
        find = one_by_one(get_ssh_key)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "ssh_key", scope, find, project_of), show_ssh_key)
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_ssh_keys(c, scope, page), project_of), show_ssh_key)


@router.post("", status_code=201, response_model=SshKey)
async def create(desk: AtDesk, asking: Asking, done: DoneOnce, body: SshKeyCreate) -> Response:
    """Add a public key."""

    def show(key: ModelSshKey) -> SshKey:
        return show_ssh_key(key, {asking.project.id: asking.project.name})

    return await done.answer(lambda ctx: create_ssh_key(desk.control, ctx, body.name, body.public_key), show, status=201, location="/v1/ssh-keys/")


@router.get("/{ssh_key}", response_model=SshKey)
async def show(desk: AtDesk, asking: Asking, ssh_key: Reference) -> Response:
    """Show an SSH key."""
    scope = asking.scope_of(ssh_key)
    found = await desk.control.store.read(lambda c: with_names(c, get_ssh_key(c, ssh_key, scope), project_of))
    return shown(show_ssh_key(found.what, found.names))


@router.delete("/{ssh_key}", status_code=204)
async def delete(desk: AtDesk, asking: Asking, ssh_key: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete a key; VMs keep the copy that they were made with."""
    scope = asking.scope_of(ssh_key)
    found = await desk.control.store.read(lambda c: get_ssh_key(c, ssh_key, scope))
    await delete_ssh_key(desk.control, asking.context, found.id, expected=expected(if_match))
    return nothing()
