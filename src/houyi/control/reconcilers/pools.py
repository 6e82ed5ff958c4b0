"""Goal: every pool has the baseline of the CPUs of its hosts as they are now. It asks them (what is desired of each host has the question), and settles what they say."""

from houyi.base.log import get_log
from houyi.control.control import PLATFORM, Control, new_event
from houyi.model.cpu import CpuBaseline
from houyi.model.errors import HouyiError
from houyi.model.host import Host
from houyi.model.pool import Pool
from houyi.planning.pool import settle
from houyi.store.baselines import put_pool_status
from houyi.store.mutation import Mutation
from houyi.store.views.host import list_hosts
from houyi.store.views.page import EVERYTHING
from houyi.store.views.pool import answers_of, list_pools

log = get_log(__name__)


async def settle_pools(control: Control) -> None:
    """One pass. A pool that cannot be looked at now holds up no other."""
    pools = (await control.store.read(list_pools)).items
    if not pools:
        return
    hosts = {host.id: host for host in (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items}
    for pool in pools:
        try:
            await _settle(control, pool, [hosts[host_id] for host_id in pool.hosts if host_id in hosts])
        except HouyiError as refused:  # the store is away: the next pass looks again
            log.info("pool_later", pool=pool.id, code=refused.code)


async def _settle(control: Control, pool: Pool, hosts: list[Host]) -> None:
    answers = await control.store.read(lambda c: answers_of(c, pool.id))
    status = settle(pool.id, pool.status, hosts, answers)
    if status == pool.status:
        return
    mutations: list[Mutation] = [put_pool_status(pool.id, status)]
    if status.baseline is not None and status.baseline != pool.status.baseline:
        detail = _in_words(pool.status.baseline, status.baseline)
        mutations.append(new_event(control, PLATFORM, "pool.baseline", pool.id, pool.name, detail, project_id=None, data={"model": status.baseline.cpu.model}))
    elif status.trouble and status.trouble != pool.status.trouble and status.ask == pool.status.ask:
        mutations.append(new_event(control, PLATFORM, "pool.trouble", pool.id, pool.name, status.trouble, project_id=None))
    await control.store.apply(mutations)
    log.info("pool", pool=pool.id, trouble=status.trouble, model=status.baseline.cpu.model if status.baseline else "")


def _in_words(before: CpuBaseline | None, now: CpuBaseline) -> str:
    said = f"VMs get {now.cpu.model} with {len(now.features)} features from now on"
    if before is None:
        return said
    gone, new = sorted(set(before.features) - set(now.features)), sorted(set(now.features) - set(before.features))
    changes = [f"{sign} {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}" for sign, names in (("without", gone), ("and have", new)) if names]
    return f"{said}, {'; '.join(changes)}" if changes else said
