"""/v1/pools: hosts among which any VM may move. Everybody sees them, since VMs are made for them; administrators change them and see who is in them."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, Asking, AtDesk, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.pool import create_pool, delete_pool
from houyi.model.pool import Pool as ModelPool
from houyi.planning.pool import apart
from houyi.store.views.news import for_everybody, news_with_names
from houyi.store.views.pool import get_pool, list_pools
from houyi.store.views.vm import vms_of_host
from houyi.wire.v1.pool import Pool, PoolCreate, PoolPage, PoolVmApart, show_pool

router = APIRouter(prefix="/v1/pools", tags=["pools"])


@router.get("", response_model=PoolPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Asking, ask: AskedPage, watching: AskedWatch) -> Response:
    """List pools, or watch them."""

    def show(pool: ModelPool, _names: dict[str, str]) -> Pool:
        return show_pool(pool, hosts=asking.is_admin)

    if watching.on:
        find = for_everybody(get_pool)
        return await watched(desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "pool", scope, find, shared=True), show)
    return await listed(desk, ask, plainly(list_pools), show)


@router.post("", status_code=201, response_model=Pool)
async def create(desk: AtDesk, _asking: Administrator, done: DoneOnce, body: PoolCreate) -> Response:
    """Make a pool without hosts."""
    return await done.answer(lambda ctx: create_pool(desk.control, ctx, body.name), lambda pool: show_pool(pool, hosts=True), status=201, location="/v1/pools/")


@router.get("/{pool}", response_model=Pool)
async def show(desk: AtDesk, asking: Asking, pool: Reference) -> Response:
    """Show a pool: the CPU of its VMs, its hosts, and which VMs run with another."""
    found = await desk.control.store.read(lambda c: get_pool(c, pool))
    return shown(show_pool(found, hosts=asking.is_admin, apart=await _apart(desk, found) if asking.is_admin else None))


async def _apart(desk: AtDesk, pool: ModelPool) -> list[PoolVmApart]:
    baseline = pool.status.baseline
    if baseline is None:
        return []
    vms = await desk.control.store.read(lambda c: [vm for host_id in pool.hosts for vm in vms_of_host(c, host_id)])
    return [PoolVmApart(vm_id=one.vm_id, vm_name=one.vm_name, host_id=one.host_id, more=list(one.more), less=list(one.less)) for one in apart(baseline, vms)]


@router.delete("/{pool}", status_code=204)
async def delete(desk: AtDesk, asking: Administrator, pool: Reference, if_match: IfMatchHeader = None) -> Response:
    """Delete a pool without hosts, for which no VM was made."""
    found = await desk.control.store.read(lambda c: get_pool(c, pool))
    await delete_pool(desk.control, asking.context, found.id, expected=expected(if_match))
    return nothing()
