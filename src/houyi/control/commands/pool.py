"""What may be asked of pools; administrators only, which the API checks. Who is in one is said of the host (commands/host.py)."""

from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Conflict
from houyi.model.ids import PoolId
from houyi.model.names import check_name
from houyi.model.pool import Pool
from houyi.store.rows.pool import delete_pool as delete_row
from houyi.store.rows.pool import insert_pool
from houyi.store.views.pool import get_pool


async def create_pool(control: Control, ctx: Context, name: str) -> Pool:
    """Without hosts. :raise Invalid: `name_invalid`. :raise Conflict: `name_taken`."""
    pool = Pool(id=PoolId(control.ids.new()), name=check_name(name, "pool name"), created_at=control.clock.now(), revision=control.store.revision)
    event = new_event(control, ctx, "pool.create", pool.id, name, "created", project_id=None)
    await control.store.apply([insert_pool(pool), event, *remembered(control, ctx, pool)])
    return await control.store.read(lambda c: get_pool(c, pool.id))


async def delete_pool(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """:raise Conflict: `pool_in_use`: hosts are in it, or VMs must be."""
    pool = await control.store.read(lambda c: get_pool(c, reference))
    event = new_event(control, ctx, "pool.delete", pool.id, pool.name, "deleted", project_id=None)
    try:
        await control.store.apply([delete_row(pool.id), event], as_expected(lambda c: get_pool(c, pool.id), expected))
    except Conflict as used:
        if used.code != "in_use":
            raise
        if pool.hosts:
            hosts = ", ".join(sorted(pool.hosts.values())[:8])
            raise Conflict("pool_in_use", f"hosts are in pool {pool.name!r} ({hosts}): `houyi host set HOST --no-pool` first") from None
        raise Conflict("pool_in_use", f"VMs were made for pool {pool.name!r} (`houyi vm create --pool`): delete them first") from None
