"""/v1/hosts: the machines that VMs run on; administrators only."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, AtDesk, Filter, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.routes import STREAM
from houyi.control.commands.host import remove_host, update_host_desired
from houyi.model.host import Host as ModelHost
from houyi.model.host import HostState
from houyi.store.views.host import get_host, list_hosts
from houyi.store.views.news import for_everybody, news_with_names
from houyi.wire.v1.host import Host, HostPage, HostUpdate, show_host

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])


def _show(host: ModelHost, _names: dict[str, str]) -> Host:
    return show_host(host)


@router.get("", response_model=HostPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Administrator, ask: AskedPage, watching: AskedWatch, name: Filter = None, state: HostState | None = None) -> Response:
    """List hosts, or watch them."""

    def keep(host: Host) -> bool:
        return name in (None, host.name) and state in (None, host.state)

    filtered = None if name is None and state is None else keep
    if watching.on:
        find = for_everybody(get_host)
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "host", scope, find, shared=True), _show, filtered
        )
    return await listed(desk, ask, plainly(list_hosts), _show, filtered)


@router.get("/{host}", response_model=Host)
async def show(desk: AtDesk, _asking: Administrator, host: Reference) -> Response:
    """Show what a host is, can do and does."""
    return shown(show_host(await desk.control.store.read(lambda c: get_host(c, host))))


@router.patch("/{host}", response_model=Host)
async def update(desk: AtDesk, asking: Administrator, host: Reference, body: HostUpdate, if_match: IfMatchHeader = None) -> Response:
    """Cordon or uncordon a host, or replace its labels."""
    changed = await update_host_desired(desk.control, asking.context, host, cordoned=body.cordoned, labels=body.labels, expected=expected(if_match))
    return shown(show_host(changed))


@router.delete("/{host}", status_code=204)
async def delete(desk: AtDesk, asking: Administrator, host: Reference, if_match: IfMatchHeader = None) -> Response:
    """Forget a host without VMs; its certificate is refused from now on."""
    await remove_host(desk.control, asking.context, host, expected=expected(if_match))
    return nothing()
