"""What may be asked of moves: to begin, and to stop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from houyi.control.control import Context, Control, again, new_event, new_operation, remembered
from houyi.control.forecasts import look_back, terms_of
from houyi.control.placements import host_limits, look
from houyi.model.errors import Conflict, Failed, HouyiError, NoCapacity, Stale
from houyi.model.host import Host
from houyi.model.ids import MigrationId
from houyi.model.migration import ENDED, Forecast, Migration, MigrationCourse, MigrationKind, MigrationSpec, MigrationState, Terms
from houyi.model.operation import MIGRATE, Operation
from houyi.model.resources import Amounts
from houyi.model.vm import MigrationPolicy, Vm
from houyi.planning.migration.blockers import blockers, kind_of
from houyi.planning.migration.course import COLD_SECONDS_MAX
from houyi.planning.migration.experience import foretell
from houyi.planning.migration.forecast import chosen
from houyi.planning.migration.steer import may_throttle
from houyi.planning.placement.filters import amounts
from houyi.planning.placement.numa import base_of, nodes_of
from houyi.planning.spec import check_downtime
from houyi.store.claims import claim_landing, claimed_by
from houyi.store.journal import insert_operation
from houyi.store.migration_docs import Asked
from houyi.store.mutation import Mutation
from houyi.store.rows.migration import insert_migration, update_migration
from houyi.store.rows.vm import expect_vm
from houyi.store.views.host import get_host
from houyi.store.views.migration import get_migration, newest_epoch, open_migration_of
from houyi.store.views.vm import get_vm


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationAsk:
    """None: as the VM's own settings say."""

    to: str = ""
    """Name or id of the destination; '': the platform chooses."""
    policy: MigrationPolicy | None = None
    downtime_ms_max: int | None = None
    postcopy: bool | None = None
    bandwidth_mib_s_max: float = 0.0
    priority: int = 0
    reason: str = "asked"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a move would be, and what stands against it (`problems`: what `migrate_vm` would raise)."""

    vm: Vm
    kind: MigrationKind
    source: Host | None
    destination: Host | None
    terms: Terms
    claims: Amounts
    problems: Sequence[HouyiError]
    forecast: Forecast | None
    """None: it is cold, or it cannot be moved."""


async def migrate_vm(control: Control, ctx: Context, reference: str, ask: MigrationAsk) -> tuple[Migration, Operation]:
    """Write the wish, and hold the room at the destination.

    :raise Conflict: what `planning.migration.blockers` says. :raise NoCapacity: no host can take it. :raise NotFound: VM or host. :raise Invalid: `downtime_invalid`.
    """

    async def attempt() -> tuple[Migration, Operation]:
        plan = await plan_migration(control, ctx, reference, ask)
        for problem in plan.problems:
            raise problem
        try:
            return await _begin(control, ctx, plan, ask)
        except NoCapacity as lost:
            raise Stale("room_taken", lost.detail) from lost

    begun = await again(attempt, codes=("revision_mismatch", "host_cordoned", "vm_moved", "room_taken", "pool_left", "placement_group_broken"))
    control.hints.poke("migrations")
    return begun


async def plan_migration(control: Control, ctx: Context, reference: str, ask: MigrationAsk) -> Plan:
    """All checks of `migrate_vm` and where the VM would go, without writing anything."""
    vm = await control.store.read(lambda c: get_vm(c, reference, ctx.scope))
    spec = vm.desired.spec
    terms = _asked_terms(terms_of(control, spec), ask)
    ground = await look(control, [spec], without=vm.desired.id)
    source = next((host for host in ground.hosts if host.id == vm.host_id), None)
    named = await control.store.read(lambda c: get_host(c, ask.to)) if ask.to else None
    kind = kind_of(vm) or MigrationKind.LIVE
    if kind is MigrationKind.COLD:
        terms = replace(terms, seconds_max=COLD_SECONDS_MAX)
    found: list[HouyiError] = [Conflict(one.code, one.detail) for one in blockers(vm, source, named)]
    claims: Amounts = await control.store.read(lambda c: claimed_by(c, vm.desired.id)) if kind is MigrationKind.LIVE else amounts(spec)
    asked = {name: amount for name, amount in claims.items() if base_of(name) == name}
    against = {host.id: blockers(vm, source, host) for host in ground.hosts}
    candidates = [host.id for host in ground.hosts if not against[host.id]] if named is None else [named.id]
    destination = named
    if not found:
        choice = ground.choose(replace(ground.request(spec, candidates), asked=asked))
        destination = next((host for host in ground.hosts if host.id == choice.host_id), None)
        claims = choice.amounts
        if destination is None:
            detail = f"no host can take VM {vm.desired.name!r}: {choice.no_capacity}"
            found.append(NoCapacity("no_capacity", detail, asked=asked, left=dict(choice.left), removed=dict(choice.removed)))
            found += [Conflict(one.code, one.detail) for problems in against.values() for one in problems if one.code == "cpu_incompatible"]
    told = None
    if source is not None and destination is not None and not found and kind is MigrationKind.LIVE:
        told = foretell(vm, source.id, destination.id, terms, await look_back(control, [vm.desired.id]))
        terms = chosen(terms, told)
    return Plan(vm, kind, source, destination, terms, claims, found, told)


def _asked_terms(terms: Terms, ask: MigrationAsk) -> Terms:
    """:raise Invalid: `downtime_invalid`."""
    if ask.downtime_ms_max is not None:
        check_downtime(ask.downtime_ms_max)
        terms = replace(terms, downtime_ms_max=ask.downtime_ms_max)
    terms = replace(
        terms,
        policy=terms.policy if ask.policy is None else ask.policy,
        postcopy=terms.postcopy if ask.postcopy is None else ask.postcopy,
        bandwidth_mib_s_max=ask.bandwidth_mib_s_max,
    )
    return replace(terms, throttles=may_throttle(terms))


async def _begin(control: Control, ctx: Context, plan: Plan, ask: MigrationAsk) -> tuple[Migration, Operation]:
    vm, source, destination = plan.vm, plan.source, plan.destination
    if source is None or destination is None:
        raise Failed("migration_failed", "a plan without problems has both ends: look again")
    epoch = max(vm.desired.epoch, await control.store.read(lambda c: newest_epoch(c, vm.desired.id))) + 1
    operation = new_operation(control, ctx, MIGRATE, vm.desired.id, project_id=vm.desired.project_id, cancellable=True)
    now = control.clock.now()
    migration = Migration(
        id=MigrationId(control.ids.new()),
        project_id=vm.desired.project_id,
        vm_id=vm.desired.id,
        vm_name=vm.desired.name,
        source_id=source.id,
        destination_id=destination.id,
        epoch=epoch,
        operation_id=operation.id,
        spec=MigrationSpec(kind=plan.kind, terms=plan.terms, priority=ask.priority, reason=ask.reason),
        course=MigrationCourse(),
        forecast=plan.forecast,
        source=None,
        destination=None,
        source_heard=source.connected,
        destination_heard=destination.connected,
        created_at=now,
        revision=0,
    )
    asked = Asked(
        vm=replace(vm.desired, epoch=epoch, numa_nodes=nodes_of(plan.claims)),
        source_id=source.id,
        destination_id=destination.id,
        operation_id=operation.id,
        spec=migration.spec,
        forecast=plan.forecast,
    )
    detail = f"to be moved from host {source.name} to host {destination.name} ({ask.reason})"
    mutations = [
        insert_operation(operation),
        insert_migration(migration, asked),
        claim_landing(migration, plan.claims, host_limits(destination, control.settings.server), now),
        new_event(control, ctx, "vm.migrate", vm.desired.id, vm.desired.name, detail, project_id=vm.desired.project_id),
        *remembered(control, ctx, operation),
    ]
    revision = await control.store.apply(mutations, [expect_vm(vm.desired.id, vm.revision)])
    return replace(migration, revision=revision), replace(operation, revision=revision)


async def cancel_migration(control: Control, ctx: Context, migration_id: str) -> Migration:
    """Stop a move as long as the VM lives at its source; it goes on there. Asked again: nothing.

    :raise Conflict: `migration_ended`, `migration_settled`: the VM lives at the destination already. :raise NotFound: `migration_not_found`.
    """
    migration = await control.store.read(lambda c: get_migration(c, migration_id, ctx.scope))
    cancelled = replace(migration, spec=replace(migration.spec, cancelled=True))
    return replace(cancelled, revision=await _cancel(control, ctx, migration, remembered(control, ctx, cancelled)))


async def cancel_migration_of(control: Control, ctx: Context, operation: Operation) -> Operation:
    """The same, by the operation. :raise Conflict: `operation_ended`: its move has ended meanwhile."""
    vm_id = operation.target_id
    found = await control.store.read(lambda c: open_migration_of(c, vm_id))
    if found is None or found.operation_id != operation.id:
        raise Conflict("operation_ended", "the move has ended meanwhile")
    await _cancel(control, ctx, found, remembered(control, ctx, operation))
    return operation


async def _cancel(control: Control, ctx: Context, migration: Migration, beside: Sequence[Mutation]) -> int:
    """:param beside: what is written with it. :return: the migration's revision."""
    state = migration.course.state
    if state in ENDED:
        raise Conflict("migration_ended", f"the migration is {state.value} already")
    if state is MigrationState.FINISHING:
        raise Conflict("migration_settled", "the VM lives at its destination already: move it back, if that is wanted")
    if migration.spec.cancelled:
        return await control.store.apply(beside) if beside else migration.revision
    event = new_event(control, ctx, "vm.migration_cancel", migration.vm_id, migration.vm_name, "cancellation asked", project_id=migration.project_id)
    revision = await control.store.apply([update_migration(migration, replace(migration.spec, cancelled=True)), event, *beside])
    control.hints.poke("migrations")
    return revision
