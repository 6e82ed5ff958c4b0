"""/v1/networks: what NICs attach to."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Asking, AtDesk, Filter, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.network import create_network, delete_network
from houyi.model.network import Network as ModelNetwork
from houyi.model.network import NetworkSpec
from houyi.store.views.names import page_with_names, project_of, with_names
from houyi.store.views.network import get_network, list_networks
from houyi.store.views.news import news_with_names, one_by_one
from houyi.wire.v1.network import Network, NetworkCreate, NetworkPage, show_network

router = APIRouter(prefix="/v1/networks", tags=["networks"])


@router.get("", response_model=NetworkPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch, name: Filter = None) -> Response:
    """List networks, one's own and shared ones, or watch them."""

    def keep(network: Network) -> bool:
        return network.name == name

    filtered = None if name is None else keep
    if watching.on:
        find = one_by_one(get_network)
        return await watched(
            desk,
            asking,
            watching,
            lambda since, scope: lambda c: news_with_names(c, since, "network", scope, find, project_of, shared=True),
            show_network,
            filtered,
        )
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_networks(c, scope, page), project_of), show_network, filtered)


@router.post("", status_code=201, response_model=Network)
async def create(desk: AtDesk, asking: Asking, done: DoneOnce, body: NetworkCreate) -> Response:
    """Make a NAT network, or make a host's bridge known as one."""
    spec = NetworkSpec(kind=body.kind, cidr=body.cidr, bridge=body.bridge, gateway=body.gateway, dns=tuple(body.dns), domain=body.domain)

    def show(network: ModelNetwork) -> Network:
        return show_network(network, {asking.project.id: asking.project.name})

    return await done.answer(lambda ctx: create_network(desk.control, ctx, body.name, spec, shared=body.shared), show, status=201, location="/v1/networks/")


@router.get("/{network}", response_model=Network)
async def show(desk: AtDesk, asking: Asking, network: Reference) -> Response:
    """Show a network."""
    scope = asking.scope_of(network)
    found = await desk.control.store.read(lambda c: with_names(c, get_network(c, network, scope), project_of))
    return shown(show_network(found.what, found.names))


@router.delete("/{network}", status_code=204)
async def delete(desk: AtDesk, asking: Asking, network: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete a network that no VM is on."""
    scope = asking.scope_of(network)
    found = await desk.control.store.read(lambda c: get_network(c, network, scope))
    await delete_network(desk.control, asking.context, found.id, expected=expected(if_match))
    return nothing()
