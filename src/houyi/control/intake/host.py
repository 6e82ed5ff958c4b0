"""A host's words about itself: that it is there, what it is, and that it has gone."""

from contextlib import suppress
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Context, Control, new_event
from houyi.model.cpu import is_sound, sound_features
from houyi.model.errors import NotFound
from houyi.model.host import Host, HostFacts, HostLoad, clock_in_words
from houyi.model.ids import HostId, ProjectId
from houyi.model.token import Role
from houyi.planning.placement.numa import capacity
from houyi.store.mutation import Mutation, touch
from houyi.store.rows.host import put_host_facts, put_host_load
from houyi.store.views.host import get_host, reports_of
from houyi.store.views.vm import vms_of_host

log = get_log(__name__)

_EVERY = 3
"""A heartbeat is written down this many times within a lease: often enough that the lease never runs out, seldom enough that idle hosts cost little."""


def host_context(host_id: HostId) -> Context:
    """Who acts when a host reports."""
    return Context(actor=f"host:{host_id}", project_id=ProjectId(""), role=Role.MEMBER)


async def take_hello(control: Control, host_id: HostId, instance: str, facts: HostFacts) -> Host:
    """A host has connected. :raise NotFound: `host_not_found`: it was removed."""
    host = await control.store.read(lambda c: get_host(c, host_id))
    event = new_event(control, host_context(host_id), "host.connect", host_id, host.name, f"connected, agent {facts.agent_version}", project_id=None)
    facts = _sound(facts)
    shown = [] if host.connected else await _shown_again(control, host_id)
    await control.store.apply([put_host_facts(host_id, instance, facts, capacity(facts), control.clock.now()), event, *shown])
    control.hints.poke("placement")
    control.hints.poke("pools")
    return await control.store.read(lambda c: get_host(c, host_id))


def _sound(facts: HostFacts) -> HostFacts:
    """Without a description of its CPU that cannot be libvirt's."""
    cpu = facts.guest_cpu
    return replace(facts, guest_cpu=cpu if cpu is not None and is_sound(cpu) else None, cpu_features=sound_features(facts.cpu_features))


async def load_mutations(control: Control, host_id: HostId, instance: str, serial: int, load: HostLoad, *, force: bool) -> list[Mutation] | None:
    """What a heartbeat writes: nothing if the last one is fresh. None: the report is older than what is known, or of an agent that was replaced."""
    known = await control.store.read(lambda c: reports_of(c, host_id))
    if known is None or known.instance != instance or serial <= known.serial:
        return None
    now = control.clock.now()
    if not known.connected:
        host = await control.store.read(lambda c: get_host(c, host_id))
        event = new_event(control, host_context(host_id), "host.reachable", host_id, host.name, "heard of again", project_id=None)
        return [put_host_load(host_id, serial, load, now), event, *await _shown_again(control, host_id)]
    fresh = now - known.last_seen_at < control.settings.server.lease_seconds / _EVERY
    return [] if fresh and not force else [put_host_load(host_id, serial, load, now)]


async def take_clock(control: Control, host_id: HostId, load: HostLoad) -> None:
    """A host's clock has gone wrong, or is right again. :raise NotFound: `host_not_found`: it was removed."""
    host = await control.store.read(lambda c: get_host(c, host_id))
    kind, detail = (
        ("host.clock_off", f"its clock is {clock_in_words(load.clock_skew_seconds)}") if load.clock_is_off else ("host.clock_right", "its clock is right again")
    )
    log.info("host_clock", host=host_id, skew_seconds=load.clock_skew_seconds, off=load.clock_is_off)
    await control.store.apply([new_event(control, host_context(host_id), kind, host_id, host.name, detail, project_id=None)])


async def take_goodbye(control: Control, host_id: HostId, instance: str) -> None:
    """The link of this instance is gone. An agent that comes back within its lease has not been away: what is shown changes when the lease runs out."""
    with suppress(NotFound):
        host = await control.store.read(lambda c: get_host(c, host_id))
        known = await control.store.read(lambda c: reports_of(c, host_id))
        if known is not None and known.instance == instance and known.connected:
            await control.store.apply([new_event(control, host_context(host_id), "host.disconnect", host_id, host.name, "the link was lost", project_id=None)])


async def _shown_again(control: Control, host_id: HostId) -> list[Mutation]:
    """The VMs of a host that is back are shown as what they are again."""
    vms = await control.store.read(lambda c: vms_of_host(c, host_id))
    return [touch("vm", vm.desired.id, vm.desired.project_id) for vm in vms]
