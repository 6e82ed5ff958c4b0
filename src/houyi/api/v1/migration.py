"""/v1/migrations, and the move of a VM: administrators choose where it goes, everybody else may ask for it to go somewhere else."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Caller, PlainId, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.migration import MigrationAsk, Plan, cancel_migration, migrate_vm, plan_migration
from houyi.control.control import Context
from houyi.model.errors import Forbidden
from houyi.model.migration import ENDED, MigrationState
from houyi.model.migration import Migration as ModelMigration
from houyi.model.operation import Operation as ModelOperation
from houyi.planning.migration.progress import progress_of_move
from houyi.store.views.migration import get_migration, list_migrations, migrations_by_id
from houyi.store.views.names import page_with_names, with_names
from houyi.store.views.news import news_with_names
from houyi.store.views.vm import get_vm
from houyi.wire.v1.migration import Migration, MigrationPage, MigrationPlan, MigrationTerms, VmMigrate, show_forecast, show_migration
from houyi.wire.v1.operation import Operation, show_operation
from houyi.wire.v1.shape import Failure, Nothing

router = APIRouter(tags=["migrations"])

OPERATIONS = "/v1/operations/"
MIGRATIONS = "/v1/migrations/"


def _hosts(migration: ModelMigration) -> tuple[str | None, ...]:
    return (migration.source_id, migration.destination_id)


def _show(migration: ModelMigration, names: dict[str, str]) -> Migration:
    now = progress_of_move(migration)
    return show_migration(migration, names, now.progress, now.stage)


@router.get("/v1/migrations", response_model=MigrationPage, responses=STREAM)
async def list_all(
    desk: AtDesk,
    asking: Asking,
    ask: AskedPage,
    watching: AskedWatch,
    vm: Annotated[str | None, Query(description="Id of a VM.", max_length=255, pattern=r"^[^\x00]*$")] = None,
    host: Annotated[str | None, Query(description="Name or id of either of its hosts.", max_length=255, pattern=r"^[^\x00]*$")] = None,
    state: MigrationState | None = None,
    only_open: Annotated[bool, Query(alias="open", description="Only what has not ended.")] = False,
) -> Response:
    """List moves of VMs, oldest first, or watch them."""

    def keep(one: Migration) -> bool:
        at = host is None or host in (one.source_id, one.source_name, one.destination_id, one.destination_name)
        return at and vm in (None, one.vm_id) and state in (None, one.state) and not (only_open and one.state in ENDED)

    filtered = None if (vm, host, state) == (None, None, None) and not only_open else keep
    if watching.on:
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "migration", scope, migrations_by_id, _hosts), _show, filtered
        )
    scope = asking.scope
    return await listed(
        desk, ask, lambda page: lambda c: page_with_names(c, list_migrations(c, scope, page, vm_id=vm, open_only=only_open), _hosts), _show, filtered
    )


@router.get("/v1/migrations/{migration}", response_model=Migration)
async def show(desk: AtDesk, asking: Asking, migration: PlainId) -> Response:
    """Show a move: where it stands, what was expected of it and what became of it."""
    found = await desk.control.store.read(lambda c: with_names(c, get_migration(c, migration, asking.scope), _hosts))
    return shown(_show(found.what, found.names))


@router.post("/v1/migrations/{migration}/cancel", response_model=Migration)
async def cancel(desk: AtDesk, asking: Asking, done: DoneOnce, migration: PlainId, body: Annotated[Nothing | None, Body()] = None) -> Response:
    """Stop a move as long as the VM lives at its source, where it goes on."""
    found = await desk.control.store.read(lambda c: with_names(c, get_migration(c, migration, asking.scope), _hosts))
    return await done.answer(
        lambda ctx: cancel_migration(desk.control, ctx, found.what.id), lambda one: _show(one, found.names), status=200, location=MIGRATIONS
    )


@router.post(
    "/v1/vms/{vm}/migrate",
    status_code=202,
    response_model=Operation,
    responses={200: {"model": MigrationPlan, "description": "With dry_run: where it would go, and what stands against it."}},
)
async def migrate(
    desk: AtDesk,
    asking: Asking,
    done: DoneOnce,
    vm: Reference,
    body: Annotated[VmMigrate | None, Body()] = None,
    dry_run: Annotated[bool, Query(description="Check everything and say where it would go, but move nothing.")] = False,
) -> Response:
    """Move a VM to another host while it runs; a stopped one with its disk."""
    ask = _asked(asking, body or VmMigrate())
    scope = asking.scope_of(vm)
    vm_id = (await desk.control.store.read(lambda c: get_vm(c, vm, scope))).desired.id
    if dry_run:
        return shown(_show_plan(await plan_migration(desk.control, asking.context, vm_id, ask)))

    async def act(ctx: Context) -> ModelOperation:
        return (await migrate_vm(desk.control, ctx, vm_id, ask))[1]

    return await done.answer(act, show_operation, status=202, location=OPERATIONS)


def _asked(asking: Caller, body: VmMigrate) -> MigrationAsk:
    """:raise Forbidden: `admin_only`: hosts, and who goes first, are the administrators'."""
    if not asking.is_admin and (body.to or body.priority):
        raise Forbidden("admin_only", "only administrators choose the host and the priority of a move: leave both out, and the platform chooses")
    return MigrationAsk(
        to=body.to,
        policy=body.policy,
        downtime_ms_max=body.downtime_ms_max,
        postcopy=body.postcopy,
        bandwidth_mib_s_max=body.bandwidth_mib_s_max,
        priority=body.priority,
    )


def _show_plan(plan: Plan) -> MigrationPlan:
    source, destination = plan.source, plan.destination
    return MigrationPlan(
        vm_id=plan.vm.desired.id,
        vm_name=plan.vm.desired.name,
        kind=plan.kind,
        source_id=source.id if source else None,
        source_name=source.name if source else None,
        destination_id=destination.id if destination else None,
        destination_name=destination.name if destination else None,
        terms=MigrationTerms.model_validate(plan.terms, from_attributes=True),
        claims=dict(plan.claims),
        blockers=[Failure(code=one.code, detail=one.detail) for one in plan.problems],
        forecast=show_forecast(plan.forecast),
    )
