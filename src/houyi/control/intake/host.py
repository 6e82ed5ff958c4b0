"""A host's words about itself: that it is there, what it is, and that it has gone."""

from houyi.control.control import Context, Control, new_event
from houyi.model.errors import NotFound
from houyi.model.host import Host, HostFacts, HostLoad
from houyi.model.ids import HostId, ProjectId
from houyi.model.resources import DISK_GIB, MEMORY_MIB, VCPU
from houyi.model.token import Role
from houyi.store.mutation import Mutation
from houyi.store.rows.host import put_host_facts, put_host_load, set_host_connected
from houyi.store.views.host import get_host, reports_of

_EVERY = 3
"""A heartbeat is written down this many times within a lease: often enough that the lease never runs out, seldom enough that idle hosts cost little."""


def host_context(host_id: HostId) -> Context:
    """Who acts when a host reports."""
    return Context(actor=f"host:{host_id}", project_id=ProjectId(""), role=Role.MEMBER)


async def take_hello(control: Control, host_id: HostId, instance: str, facts: HostFacts) -> Host:
    """A host has connected. :raise NotFound: `host_not_found`: it was removed."""
    host = await control.store.read(lambda c: get_host(c, host_id))
    capacity = {VCPU: facts.cpus, MEMORY_MIB: facts.memory_mib, DISK_GIB: facts.disk_gib}
    event = new_event(control, host_context(host_id), "host.connect", host_id, host.name, f"connected, agent {facts.agent_version}", project_id=None)
    await control.store.apply([put_host_facts(host_id, instance, facts, capacity, control.clock.now()), event])
    control.hints.poke("placement")
    return await control.store.read(lambda c: get_host(c, host_id))


async def load_mutations(control: Control, host_id: HostId, instance: str, serial: int, load: HostLoad, *, force: bool) -> list[Mutation] | None:
    """What a heartbeat writes: nothing if the last one is fresh. None: the report is older than what is known, or of an agent that was replaced."""
    known = await control.store.read(lambda c: reports_of(c, host_id))
    if known is None or known.instance != instance or serial <= known.serial:
        return None
    now = control.clock.now()
    fresh = known.connected and now - known.last_seen_at < control.settings.server.lease_seconds / _EVERY
    return [] if fresh and not force else [put_host_load(host_id, serial, load, now)]


async def take_goodbye(control: Control, host_id: HostId, instance: str) -> None:
    """The link of this instance is gone; its VMs are unknown from now on. A host that has connected anew meanwhile is left alone."""
    try:
        host = await control.store.read(lambda c: get_host(c, host_id))
    except NotFound:
        return
    known = await control.store.read(lambda c: reports_of(c, host_id))
    if known is None or known.instance != instance or not known.connected:
        return
    event = new_event(control, host_context(host_id), "host.disconnect", host_id, host.name, "the link was lost", project_id=None)
    await control.store.apply([set_host_connected(host_id, False, None), event])
