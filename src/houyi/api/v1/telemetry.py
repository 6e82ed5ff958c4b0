"""What VMs did, as their hosts counted it: of all of them now, and the history of one; and, while somebody waits, what makes one exit, and how long its disks take."""

import re
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import AwareDatetime, BeforeValidator
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Reference
from houyi.api.once import DoneOnce
from houyi.control.commands.exits import profile_exits
from houyi.control.commands.latency import profile_latency
from houyi.control.control import Context, Control
from houyi.control.prometheus import history_of
from houyi.model.errors import Unavailable
from houyi.model.exits import ExitProfile
from houyi.model.latency import LatencyProfile
from houyi.model.vm import DesiredVm
from houyi.planning.exits import symptoms
from houyi.planning.latency import requests
from houyi.planning.telemetry import merged
from houyi.store.views.names import names_of
from houyi.store.views.telemetry import Period, history, newest
from houyi.store.views.vm import get_vm
from houyi.wire.v1.exits import VmExits, VmExitsAsk, show_exits
from houyi.wire.v1.latency import VmLatency, VmLatencyAsk, show_latency
from houyi.wire.v1.telemetry import TelemetryHistory, TelemetryNow, VmTelemetry, show_telemetry

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]")


def _written_out(value: object) -> object:
    """Pydantic takes a number for a moment, too: seconds or milliseconds, as it guesses."""
    if isinstance(value, str) and not _RFC_3339.match(value):
        raise ValueError("a moment is written like 2026-11-23T17:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]

router = APIRouter(tags=["telemetry"])

FRESH_PERIODS = 3
"""A VM that nothing was heard of for this many periods is not shown as if it went on."""
DEFAULT_SECONDS = 3600.0
TRAVEL_SECONDS = 15.0
"""A period's rates come with the host's next report."""


def _show(period: Period) -> VmTelemetry:
    names = {"vm_name": period.vm_name, "project_id": period.project_id, "host_id": period.host_id, "host_name": period.host_name}
    return show_telemetry(period.rates, names)


@router.get("/v1/telemetry", response_model=TelemetryNow)
async def list_newest(
    desk: AtDesk,
    asking: Asking,
    host: Annotated[str | None, Query(description="Only VMs on this host (name or id).", max_length=255, pattern=r"^[^\x00]*$")] = None,
) -> Response:
    """Show what each VM did in its newest period: VM exits, CPU, steal, disks, networks."""
    control, scope = desk.control, asking.scope
    since = control.clock.now() - FRESH_PERIODS * control.settings.agent.telemetry_seconds - TRAVEL_SECONDS
    found = await control.store.read(lambda c: newest(c, scope, since))
    return shown(TelemetryNow(items=[_show(one) for one in found if host is None or host in (one.host_id, one.host_name)]))


@router.get("/v1/vms/{vm}/telemetry", response_model=TelemetryHistory)
async def show_history(
    desk: AtDesk,
    asking: Asking,
    vm: Reference,
    since: Annotated[Moment | None, Query(description="Only what ended after this moment (RFC 3339); by default of the last hour.")] = None,
    step: Annotated[float, Query(description="Seconds that one item covers at least; 0: as it was counted.", ge=0, le=86400, allow_inf_nan=False)] = 0.0,
) -> Response:
    """Show what a VM did, period by period, oldest first."""
    scope = asking.scope_of(vm)
    desired = (await desk.control.store.read(lambda c: get_vm(c, vm, scope))).desired
    after = desk.control.clock.now() - DEFAULT_SECONDS if since is None else since.timestamp()
    source, found = await _history(desk.control, desired, after)
    items = [_show(one) for one in (_coarser(found, step) if step else found)]
    return shown(TelemetryHistory(vm_id=desired.id, vm_name=desired.name, source=source, items=items))


async def _history(control: Control, vm: DesiredVm, since: float) -> tuple[str, list[Period]]:
    """From where it reaches farthest back: a Prometheus, if there is one that answers."""
    if control.settings.server.prometheus_url:
        with suppress(Unavailable):
            known = await history_of(control, vm.id, since)
            names = await control.store.read(lambda c: names_of(c, {host for host, _ in known}))
            made = [Period(rates=rates, vm_name=vm.name, project_id=vm.project_id, host_id=host, host_name=names.get(host, "")) for host, rates in known]
            return "prometheus", made
    return "ring", await control.store.read(lambda c: history(c, vm.id, since))


@router.post("/v1/vms/{vm}/exits", response_model=VmExits)
async def profile(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: Annotated[VmExitsAsk | None, Body()] = None) -> Response:
    """Look at what makes a VM exit, by reason, with the time spent; the answer comes after as long as is asked for."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    seconds = (body or VmExitsAsk()).seconds

    async def act(ctx: Context) -> ExitProfile:
        return await profile_exits(desk.control, ctx, found, seconds, desk.tunnels.profile)

    return await done.answer(act, lambda one: show_exits(one, found.desired.name, symptoms(one)), status=200, location="")


@router.post("/v1/vms/{vm}/latency", response_model=VmLatency)
async def profile_disks(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: Annotated[VmLatencyAsk | None, Body()] = None) -> Response:
    """Look at how long requests to a VM's disks take; the answer comes after as long as is asked for."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    seconds = (body or VmLatencyAsk()).seconds

    async def act(ctx: Context) -> LatencyProfile:
        return await profile_latency(desk.control, ctx, found, seconds, desk.tunnels.latency)

    return await done.answer(act, lambda one: show_latency(one, found.desired.name, requests(one)), status=200, location="")


def _coarser(periods: list[Period], seconds: float) -> list[Period]:
    """Merged, but those that different hosts counted stay apart."""
    stretches = [list(stretch) for _, stretch in groupby(periods, lambda one: one.host_id)]
    return [replace(stretch[-1], rates=rates) for stretch in stretches for rates in merged([one.rates for one in stretch], seconds)]
