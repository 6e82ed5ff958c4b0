"""Moves of VMs: each pass looks at every move that has not ended, has its next course decided (planning.migration.course), and writes it.

Whatever follows from a course is in the same transaction: the claim that changes hands, the operation, the event. Whoever runs this, however
often, on however many servers: a course is only ever moved on from the one that was looked at.
"""

from collections.abc import Callable
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.control.moving import following
from houyi.model.errors import HouyiError
from houyi.model.migration import ENDED as ENDED_MOVES
from houyi.model.migration import Migration
from houyi.planning.migration.course import Act, Decision, Traffic, decide, in_turn
from houyi.store.views.migration import open_migrations

log = get_log(__name__)

Decide = Callable[[Migration, Traffic, float], Decision]
"""`planning.migration.course.decide`, or what a test puts in its place."""


async def move_vms(control: Control, decide: Decide = decide) -> None:
    """One pass. One that cannot be moved on now holds up no other."""
    pending = in_turn(await control.store.read(open_migrations))
    for number, migration in enumerate(pending):
        decision = decide(migration, Traffic.of(pending), control.clock.now())
        try:
            await _write(control, migration, decision)
        except HouyiError as refused:  # another server has moved it on, or the store is away: the next pass looks again
            log.info("migration_not_moved_on", migration=migration.id, code=refused.code)
            continue
        pending[number] = replace(migration, course=decision.course)


async def _write(control: Control, migration: Migration, decision: Decision) -> None:
    mutations = await following(control, migration, decision)
    if not mutations:
        return
    await control.store.apply(mutations)
    if decision.course.state is not migration.course.state:
        log.info("migration", migration=migration.id, vm=migration.vm_id, state=decision.course.state.value, why=decision.course.why)
    if decision.act is not Act.NOTHING:
        control.hints.poke("placement")
        control.hints.poke("operations")
    if decision.course.state in ENDED_MOVES:
        control.hints.poke("drains")
