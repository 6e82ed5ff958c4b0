"""What may be asked of hosts: join, cordon, label, remove."""

import hmac
from collections.abc import Mapping
from dataclasses import replace

from houyi.base.ids import digest
from houyi.control.control import Context, Control, again, as_expected, new_event, new_operation, remembered
from houyi.control.drains import REASON, foresee
from houyi.control.moving import following
from houyi.model.errors import Conflict, Forbidden, NotFound
from houyi.model.host import Host
from houyi.model.ids import HostId, ProjectId
from houyi.model.migration import MigrationState
from houyi.model.names import check_name
from houyi.model.operation import DRAIN, ENDED, Operation, OperationState
from houyi.model.token import Role
from houyi.model.tuning import Scope, TuningAsk
from houyi.model.vm import Vm
from houyi.planning.drain import DrainPlan
from houyi.planning.host_removal import saved, why_not
from houyi.planning.migration.course import Traffic, decide
from houyi.planning.spec import check_labels
from houyi.planning.tuning.knobs import check_settings
from houyi.planning.tuning.profiles import check_profile
from houyi.store.claims import drop_lost_landings
from houyi.store.journal import insert_operation, move_operation
from houyi.store.mutation import Mutation, expect, touch
from houyi.store.rows.host import delete_host, expect_silent, insert_host, set_host_tuning, update_host
from houyi.store.rows.join_token import use_join_token
from houyi.store.rows.migration import update_migration
from houyi.store.rows.pool import move_host
from houyi.store.rows.vm import expect_vm, remove_vm
from houyi.store.views.host import get_host, list_hosts
from houyi.store.views.join_token import get_join_token
from houyi.store.views.migration import moves_away, open_migrations
from houyi.store.views.operation import get_operation
from houyi.store.views.page import EVERYTHING
from houyi.store.views.pool import get_pool
from houyi.store.views.vm import vms_of_host


async def join_host(control: Control, token_id: str, secret: str, name: str) -> HostId:
    """Use a join token up and register the host, in one transaction.

    :raise Forbidden: `join_token_invalid` (unknown, wrong secret, expired; not said which), `join_token_used`.
    :raise Conflict: `host_name_taken`: a host that joins again under its old name must be removed first.
    """
    check_name(name, "host name")
    refusal = Forbidden("join_token_invalid", "this join token is unknown or has expired: make a new one with `houyi host join-token`")
    try:
        token = await control.store.read(lambda c: get_join_token(c, token_id))
    except NotFound:
        raise refusal from None
    if not hmac.compare_digest(token.secret_sha256, digest(secret)) or token.expires_at <= control.clock.now():
        raise refusal
    host_id = HostId(control.ids.new())
    ctx = Context(actor=f"host:{host_id}", project_id=ProjectId(""), role=Role.MEMBER)
    event = new_event(control, ctx, "host.join", host_id, name, "joined", project_id=None)
    try:
        await control.store.apply([use_join_token(token.id, host_id), insert_host(host_id, name, control.clock.now()), event])
    except Conflict as taken:
        if taken.code != "name_taken":
            raise
        raise Conflict("host_name_taken", f"there is a host {name!r} already: `houyi host remove {name}` first, or join under another name") from None
    return host_id


async def update_host_desired(
    control: Control,
    ctx: Context,
    reference: str,
    *,
    cordoned: bool | None = None,
    labels: Mapping[str, str] | None = None,
    pool: str | None = None,
    profile: str | None = None,
    knobs: Mapping[str, str] | None = None,
    expected: int | None = None,
) -> Host:
    """Cordon (no new VMs come) or uncordon, which ends a drain, replace the labels, put into a pool, tune. :param pool: name or id; '': into none.

    :param profile: '': none; what it had set is put back as it was before. :param knobs: all own settings.
    :raise Invalid: `labels_invalid`, `profile_unknown`, `knob_unknown`, `knob_scope`, `knob_value_invalid`, `knobs_exclude`. :raise Stale: `revision_mismatch`: not at `expected`. :raise NotFound: `pool_not_found`. :raise Conflict: `pool_vms_here`.
    """
    if labels is not None:
        check_labels(labels)
    check_profile(profile or "")
    check_settings(knobs or {}, Scope.HOST)

    async def attempt() -> Host:
        host = await control.store.read(lambda c: get_host(c, reference))
        drain_id = None if cordoned is False else host.drain_id
        mutation = update_host(
            host.id, cordoned=host.cordoned if cordoned is None else cordoned, drain_id=drain_id, labels=host.labels if labels is None else dict(labels)
        )
        detail = "changed" if cordoned is None else ("cordoned" if cordoned else "uncordoned")
        event = new_event(control, ctx, "host.update", host.id, host.name, detail, project_id=None)
        ended = await _end_drain(control, host) if drain_id is None else []
        moved = [] if pool is None else await _into_pool(control, ctx, host, pool)
        ask = TuningAsk(profile=host.tuning.profile if profile is None else profile, knobs=host.tuning.knobs if knobs is None else dict(knobs))
        tuned = [] if ask == host.tuning else [set_host_tuning(host.id, ask)]
        await control.store.apply(
            [mutation, event, *ended, *moved, *tuned], [expect(lambda c: get_host(c, host.id), host.revision if expected is None else expected)]
        )
        return await control.store.read(lambda c: get_host(c, host.id))

    changed = await again(attempt, codes=() if expected is not None else ("revision_mismatch",))
    control.hints.poke("placement")
    control.hints.poke("pools")
    return changed


async def _into_pool(control: Control, ctx: Context, host: Host, reference: str) -> list[Mutation]:
    """Nothing if it is there already. VMs that run keep their CPU; the store refuses it while VMs are there that were made for the old pool."""
    pool = await control.store.read(lambda c: get_pool(c, reference)) if reference else None
    if (pool.id if pool is not None else None) == host.pool_id:
        return []
    told = f"in pool {pool.name} from now on" if pool is not None else "in no pool any more"
    left = [host.pool_id] if host.pool_id is not None else []
    return [
        move_host(host.id, None if pool is None else pool.id),
        new_event(control, ctx, "host.pool", host.id, host.name, told, project_id=None),
        *(touch("pool", one, None) for one in (*left, *([pool.id] if pool is not None else []))),
    ]


async def plan_host_drain(control: Control, reference: str) -> tuple[Host, DrainPlan, Mapping[HostId, str]]:
    """What a drain would do now. :return: the host, the plan, and host names by id. :raise NotFound: `host_not_found`."""
    host = await control.store.read(lambda c: get_host(c, reference))
    names = {one.id: one.name for one in (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items}
    return host, await foresee(control, host), names


async def drain_host(control: Control, ctx: Context, reference: str) -> Operation:
    """Move every VM of a host away, and let none come, until it is uncordoned. Of one that is being drained: the operation of that.

    :raise NotFound: `host_not_found`.
    """

    async def attempt() -> Operation:
        host = await control.store.read(lambda c: get_host(c, reference))
        if host.drain_id is not None:
            return await control.store.read(lambda c: get_operation(c, host.drain_id or "", None))
        operation = new_operation(control, ctx, DRAIN, host.id, project_id=ctx.project_id, cancellable=True)
        mutations = [
            insert_operation(operation),
            update_host(host.id, cordoned=True, drain_id=operation.id, labels=host.labels),
            new_event(control, ctx, "host.drain", host.id, host.name, "to be drained", project_id=None),
            *remembered(control, ctx, operation),
        ]
        revision = await control.store.apply(mutations, [expect(lambda c: get_host(c, host.id), host.revision)])
        return replace(operation, revision=revision)

    begun = await again(attempt)
    control.hints.poke("drains")
    return begun


async def cancel_drain(control: Control, ctx: Context, operation: Operation) -> Operation:
    """No more VMs are moved away; the host stays cordoned.

    :raise Conflict: `operation_ended`: it has been drained, or uncordoned, meanwhile. :raise Forbidden: `admin_only`.
    """
    if ctx.role is not Role.ADMIN:
        raise Forbidden("admin_only", "hosts are the administrators'")

    async def attempt() -> Operation:
        host = await control.store.read(lambda c: get_host(c, operation.target_id))
        if host.drain_id != operation.id:
            raise Conflict("operation_ended", "the drain has ended meanwhile")
        event = new_event(control, ctx, "host.drain_cancel", host.id, host.name, "no longer to be drained; it stays cordoned", project_id=None)
        mutations = [update_host(host.id, cordoned=True, drain_id=None, labels=host.labels), event, *await _end_drain(control, host)]
        await control.store.apply([*mutations, *remembered(control, ctx, operation)], [expect(lambda c: get_host(c, host.id), host.revision)])
        return await control.store.read(lambda c: get_operation(c, operation.id, None))

    return await again(attempt)


async def _end_drain(control: Control, host: Host) -> list[Mutation]:
    """Its operation ends, and its moves that have not begun; those under way go on. Nothing if the host is not being drained."""
    if host.drain_id is None:
        return []
    operation = await control.store.read(lambda c: get_operation(c, host.drain_id or "", None))
    moves = await control.store.read(lambda c: moves_away(c, host.id, REASON, operation.created_at))
    waiting = [one for one in moves if one.course.state is MigrationState.QUEUED]
    ended = replace(operation, state=OperationState.CANCELLED, stage="the drain was ended", blocked_on="", cancellable=False, ended_at=control.clock.now())
    return [
        *([] if operation.state in ENDED else [move_operation(ended)]),
        *(update_migration(one, replace(one.spec, cancelled=True)) for one in waiting),
    ]


async def remove_host(control: Control, ctx: Context, reference: str, *, lost: bool = False, expected: int | None = None) -> None:
    """Forget a host without VMs; its certificate is refused from now on.

    :param lost: its machine will never run again: VMs whose deletion was asked are forgotten with it, though nobody has seen them go; moves that it was an
        end of go back, or end at the other end where that has the guest whole.
    :raise Conflict: `host_has_vms`, `host_has_moves`, `host_not_lost` (it is heard of). :raise Stale: `revision_mismatch`: not at `expected`.
    """

    async def attempt() -> None:
        host = await control.store.read(lambda c: get_host(c, reference))
        vms = await control.store.read(lambda c: vms_of_host(c, host.id))
        moves = [one for one in await control.store.read(open_migrations) if host.id in (one.source_id, one.destination_id)]
        problem = why_not(host, vms, moves, lost=lost)
        if problem is not None:
            raise Conflict(problem.code, problem.detail)
        safe = saved(host, moves) if lost else []
        forgotten = [vm for vm in vms if vm.desired.id not in {one.vm_id for one in safe}]
        detail = "removed" if not lost else f"removed as lost; VMs that it had not deleted yet: {len(forgotten)}"
        mutations = [
            *[mutation for one in safe for mutation in await following(control, one, decide(one, Traffic(), control.clock.now()))],
            *(mutation for vm in forgotten for mutation in _forget(control, ctx, host, vm)),
            drop_lost_landings(host.id, lost=lost),
            delete_host(host.id),
            new_event(control, ctx, "host.remove", host.id, host.name, detail, project_id=None),
        ]
        still = [expect_vm(vm.desired.id, vm.revision) for vm in vms]
        silent = [expect_silent(host.id, host.last_seen_at)] if lost else []
        await control.store.apply(mutations, [*as_expected(lambda c: get_host(c, host.id), expected), *still, *silent])

    try:
        await again(attempt, codes=("host_heard",) if expected is not None else ("host_heard", "revision_mismatch"))
    except Conflict as used:
        if used.code != "in_use":
            raise
        raise Conflict("host_has_vms", f"a VM has come to host {reference!r} meanwhile: cordon it, and move that away") from None
    control.hints.poke("operations")
    control.hints.poke("migrations")


def _forget(control: Control, ctx: Context, host: Host, vm: Vm) -> list[Mutation]:
    detail = f"its host {host.name} was removed as lost: whatever is left of the VM on that machine was not removed"
    event = new_event(control, ctx, "vm.deleted", vm.desired.id, vm.desired.name, detail, project_id=vm.desired.project_id)
    return [remove_vm(vm.desired.id, vm.desired.project_id), event]
