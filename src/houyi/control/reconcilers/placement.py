"""Goal: every VM that has no host gets one as soon as one can take it; one that is to be deleted before it had a host just goes."""

import asyncio
from collections.abc import Sequence

from houyi.base.log import get_log
from houyi.control.control import PLATFORM, Control, new_event
from houyi.control.placements import Ground, host_limits, look
from houyi.model.errors import Conflict, NoCapacity, NotFound, Stale
from houyi.model.vm import Vm
from houyi.planning.placement.choose import Choice
from houyi.planning.placement.fleet import Fleet
from houyi.store.claims import claim_host
from houyi.store.rows.vm import expect_vm, remove_vm
from houyi.store.views.vm import unplaced_vms

log = get_log(__name__)

ROUNDS = 8
"""How often a pass looks again at once because a claim was lost: each loss means that somebody else placed something, and the next pass comes anyway."""
AT_ONCE = 256
"""Claims under way at the same time, which the store folds into one commit; more would keep other writers waiting."""

LOST = (Stale, NoCapacity, NotFound, Conflict)
"""Somebody else was faster. Anything else, such as a store that is away, ends the pass."""


async def place_vms(control: Control) -> None:
    """One pass: choose for all on one look at the fleet, then claim. What was lost to another server is tried again on fresh state at once."""
    for _ in range(ROUNDS):
        if not await _round(control):
            return
    control.hints.poke("placement")


async def _round(control: Control) -> bool:
    """Whether a claim was lost, so that looking again may find a place."""
    waiting = await control.store.read(unplaced_vms)
    gone = [vm for vm in waiting if vm.desired.deleted]
    lost = await _all(control, [(vm, None) for vm in gone])
    rest = [vm for vm in waiting if not vm.desired.deleted]
    if not rest:
        return lost
    ground = await look(control, [vm.desired.spec for vm in rest])
    fleet = ground.fleet()
    for start in range(0, len(rest), AT_ONCE):
        chosen = [(vm, _choice(ground, fleet, vm)) for vm in rest[start : start + AT_ONCE]]
        lost |= await _all(control, [(vm, choice) for vm, choice in chosen if choice.host_id is not None])
    return lost


def _choice(ground: Ground, fleet: Fleet, vm: Vm) -> Choice:
    request = ground.request(vm.desired.spec)
    choice = ground.choose(request, fleet)
    if choice.host_id is not None:
        fleet.take(choice.host_id, choice.amounts, request.group)
    return choice


async def _all(control: Control, acts: Sequence[tuple[Vm, Choice | None]]) -> bool:
    """Claim, or forget where there is no choice. Whether any of it was refused."""
    if not acts:
        return False
    outcomes = await asyncio.gather(*(_forget(control, vm) if choice is None else _claim(control, vm, choice) for vm, choice in acts), return_exceptions=True)
    lost = False
    for (vm, _), outcome in zip(acts, outcomes, strict=True):
        if isinstance(outcome, LOST):
            lost = True
            log.info("placement_lost", vm=vm.desired.id, code=outcome.code)
        elif outcome is not None:
            raise outcome
    control.hints.poke("operations")
    return lost


async def _claim(control: Control, vm: Vm, choice: Choice) -> None:
    if choice.host_id is None:
        return
    host = choice.fleet.hosts[choice.fleet.rows[choice.host_id]]
    limits = host_limits(host, control.settings.server)
    placed = new_event(control, PLATFORM, "vm.placed", vm.desired.id, vm.desired.name, f"placed on host {host.name}", project_id=vm.desired.project_id)
    claim = claim_host(vm.desired, host.id, choice.amounts, limits, control.clock.now())
    await control.store.apply([claim, placed])


async def _forget(control: Control, vm: Vm) -> None:
    gone = new_event(control, PLATFORM, "vm.deleted", vm.desired.id, vm.desired.name, "it never had a host", project_id=vm.desired.project_id)
    await control.store.apply([remove_vm(vm.desired.id, vm.desired.project_id), gone], [expect_vm(vm.desired.id, vm.revision)])
