"""/v1/hosts: the machines that VMs run on; administrators only."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, nothing, shown
from houyi.api.caller import Administrator, AtDesk, Filter, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, plainly, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.host import drain_host, plan_host_drain, remove_host, update_host_desired
from houyi.model.host import Host as ModelHost
from houyi.model.host import HostState
from houyi.model.ids import HostId
from houyi.planning.drain import DrainPlan, in_short
from houyi.store.views.host import get_host, list_hosts
from houyi.store.views.news import for_everybody, news_with_names
from houyi.wire.v1.host import Host, HostDeparture, HostDrainPlan, HostPage, HostUpdate, show_host
from houyi.wire.v1.migration import show_forecast
from houyi.wire.v1.operation import Operation, show_operation
from houyi.wire.v1.shape import Failure, Nothing

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])

OPERATIONS = "/v1/operations/"


def _show(host: ModelHost, _names: dict[str, str]) -> Host:
    return show_host(host)


@router.get("", response_model=HostPage, responses=STREAM)
async def list_all(desk: AtDesk, asking: Administrator, ask: AskedPage, watching: AskedWatch, name: Filter = None, state: HostState | None = None) -> Response:
    """List hosts, or watch them."""

    def keep(host: Host) -> bool:
        return name in (None, host.name) and state in (None, host.state)

    filtered = None if name is None and state is None else keep
    if watching.on:
        find = for_everybody(get_host)
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "host", scope, find, shared=True), _show, filtered
        )
    return await listed(desk, ask, plainly(list_hosts), _show, filtered)


@router.get("/{host}", response_model=Host)
async def show(desk: AtDesk, _asking: Administrator, host: Reference) -> Response:
    """Show what a host is, can do and does."""
    return shown(show_host(await desk.control.store.read(lambda c: get_host(c, host))))


@router.patch("/{host}", response_model=Host)
async def update(desk: AtDesk, asking: Administrator, host: Reference, body: HostUpdate, if_match: IfMatchHeader = None) -> Response:
    """Cordon or uncordon a host, replace its labels, put it into a pool, or tune it."""
    changed = await update_host_desired(
        desk.control,
        asking.context,
        host,
        cordoned=body.cordoned,
        labels=body.labels,
        pool=body.pool,
        profile=body.profile,
        knobs=body.knobs,
        expected=expected(if_match),
    )
    return shown(show_host(changed))


def _show_plan(host: ModelHost, plan: DrainPlan, names: Mapping[HostId, str]) -> HostDrainPlan:
    """:param names: of hosts, by id."""
    return HostDrainPlan(
        host_id=host.id,
        host_name=host.name,
        summary=in_short(plan),
        seconds=plan.seconds,
        vms=[
            HostDeparture(
                vm_id=one.vm_id,
                vm_name=one.vm_name,
                kind=one.kind,
                destination_id=one.destination_id,
                destination_name=names.get(one.destination_id, "") if one.destination_id is not None else None,
                begins_after_seconds=one.begins_after,
                forecast=show_forecast(one.forecast),
                blockers=[Failure(code=problem.code, detail=problem.detail) for problem in one.problems],
            )
            for one in plan.departures
        ],
        left=dict(plan.left),
    )


@router.post(
    "/{host}/drain",
    status_code=202,
    response_model=Operation,
    responses={200: {"model": HostDrainPlan, "description": "With dry_run: where each VM would go, and what stands against it."}},
)
async def drain(
    desk: AtDesk,
    _asking: Administrator,
    done: DoneOnce,
    host: Reference,
    body: Annotated[Nothing | None, Body()] = None,
    dry_run: Annotated[bool, Query(description="Say what would be done, but do nothing.")] = False,
) -> Response:
    """Move every VM of a host away and let none come, until it is uncordoned; no VM is stopped."""
    if dry_run:
        return shown(_show_plan(*await plan_host_drain(desk.control, host)))
    return await done.answer(lambda ctx: drain_host(desk.control, ctx, host), show_operation, status=202, location=OPERATIONS)


@router.delete("/{host}", status_code=204)
async def delete(
    desk: AtDesk,
    asking: Administrator,
    host: Reference,
    lost: Annotated[bool, Query(description="Its machine will never run again: VMs that it was to delete are forgotten with it.")] = False,
    if_match: IfMatchHeader = None,
) -> Response:
    """Forget a host without VMs; its certificate is refused from now on."""
    await remove_host(desk.control, asking.context, host, lost=lost, expected=expected(if_match))
    return nothing()
