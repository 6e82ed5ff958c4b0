"""/v1/vms: virtual machines. Their consoles are in console.py."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from houyi.api.answers import IfMatchHeader, expected, shown
from houyi.api.caller import Asking, AtDesk, Caller, Filter, Reference
from houyi.api.desk import Desk
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.api.v1.placement import looks
from houyi.control.commands.vm import VmChanges, delete_vm, pause_vm, reboot_vm, reset_vm, resume_vm, start_vm, stop_vm, update_vm_desired
from houyi.control.commands.vm_create import NicAsk, VmAsk, create_vm, rehearse_vm
from houyi.control.control import Context, Control
from houyi.model.names import is_id
from houyi.model.operation import Operation as ModelOperation
from houyi.model.vm import EffectiveState
from houyi.planning.placement.filters import amounts
from houyi.store.views.names import ids_in_vm, names_of, page_with_names, with_names
from houyi.store.views.news import find_vms, news_with_names
from houyi.store.views.vm import get_vm, list_vms
from houyi.wire.v1.operation import Operation, show_operation
from houyi.wire.v1.shape import Nothing
from houyi.wire.v1.vm import Vm, VmCreate, VmPage, VmRehearsal, VmStop, VmUpdate, show_vm

router = APIRouter(prefix="/v1/vms", tags=["vms"])

OPERATIONS = "/v1/operations/"

Labels = Annotated[list[str], Query(description="KEY or KEY=VALUE; several must all fit.", max_length=32)]


@router.get("", response_model=VmPage, responses=STREAM)
async def list_all(
    desk: AtDesk,
    asking: Asking,
    ask: AskedPage,
    watching: AskedWatch,
    name: Filter = None,
    state: EffectiveState | None = None,
    host: Annotated[str | None, Query(description="Name or id.", max_length=255)] = None,
    label: Labels = [],  # noqa: B006 - never changed; a default makes it optional
) -> Response:
    """List VMs, or watch them."""

    def keep(vm: Vm) -> bool:
        on = host is None or host in (vm.host_id, vm.host_name)
        return on and name in (None, vm.name) and state in (None, vm.state) and all(_fits(vm.labels, one) for one in label)

    filtered = None if (name, state, host) == (None, None, None) and not label else keep
    if watching.on:
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "vm", scope, find_vms, ids_in_vm), show_vm, filtered
        )
    scope = asking.scope
    return await listed(desk, ask, lambda page: lambda c: page_with_names(c, list_vms(c, scope, page, name=name), ids_in_vm), show_vm, filtered)


def _fits(labels: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


@router.post(
    "", status_code=202, response_model=Operation, responses={200: {"model": VmRehearsal, "description": "With dry_run: what would be made, and where."}}
)
async def create(
    desk: AtDesk,
    asking: Asking,
    done: DoneOnce,
    body: VmCreate,
    dry_run: Annotated[bool, Query(description="Check everything and say where it would go, but make nothing.")] = False,
) -> Response:
    """Make a VM."""
    ask = VmAsk(
        vm_type=body.type,
        nics=None if body.nics is None else [NicAsk(network=nic.network, address=nic.address) for nic in body.nics],
        **{name: getattr(body, name) for name in VmCreate.model_fields if name not in ("type", "nics")},
    )
    if dry_run:
        return shown(await _rehearsed(desk, asking, ask))

    async def act(ctx: Context) -> ModelOperation:
        return (await create_vm(desk.control, ctx, ask))[1]

    return await done.answer(act, show_operation, status=202, location=OPERATIONS)


async def _rehearsed(desk: Desk, asking: Caller, ask: VmAsk) -> VmRehearsal:
    spec, choice = await rehearse_vm(desk.control, asking.context, ask)
    names = await desk.control.store.read(lambda c: names_of(c, [choice.host_id]))
    return VmRehearsal(
        host_id=choice.host_id,
        host_name=names.get(choice.host_id, "") if choice.host_id else None,
        why_not="" if choice.host_id else choice.why_not,
        removed=dict(choice.removed),
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        disk_gib=spec.disk_gib,
        asked=dict(amounts(spec)),
        left=dict(choice.left),
        hosts=looks(choice, asking),
    )


@router.get("/{vm}", response_model=Vm)
async def show(desk: AtDesk, asking: Asking, vm: Reference) -> Response:
    """Show a VM."""
    return shown(await _found(desk, asking, vm))


async def _found(desk: Desk, asking: Caller, reference: str) -> Vm:
    scope = asking.scope_of(reference)
    found = await desk.control.store.read(lambda c: with_names(c, get_vm(c, reference, scope), ids_in_vm))
    return show_vm(found.what, found.names)


async def _id(desk: Desk, asking: Caller, reference: str) -> str:
    """Commands get ids: what an administrator calls by name is looked up in one project only."""
    scope = asking.scope_of(reference)
    if is_id(reference) and scope == asking.context.scope:
        return reference  # the command itself looks there
    return (await desk.control.store.read(lambda c: get_vm(c, reference, scope))).desired.id


@router.patch("/{vm}", response_model=Vm)
async def update(desk: AtDesk, asking: Asking, vm: Reference, body: VmUpdate, if_match: IfMatchHeader = None) -> Response:
    """Change a VM."""
    changes = VmChanges(**{name: getattr(body, name) for name in VmUpdate.model_fields})
    changed = await update_vm_desired(desk.control, asking.context, await _id(desk, asking, vm), changes, expected=expected(if_match))
    names = await desk.control.store.read(lambda c: names_of(c, ids_in_vm(changed)))
    return shown(show_vm(changed, names))


@router.delete("/{vm}", status_code=202, response_model=Operation)
async def delete(desk: AtDesk, asking: Asking, vm: Reference, if_match: IfMatchHeader = None) -> Response:
    """Power a VM off and remove it with its disk."""
    operation = await delete_vm(desk.control, asking.context, await _id(desk, asking, vm), expected=expected(if_match))
    return shown(show_operation(operation), 202, location=f"{OPERATIONS}{operation.id}")


@router.post("/{vm}/stop", status_code=202, response_model=Operation)
async def stop(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: Annotated[VmStop | None, Body()] = None) -> Response:
    """Stop a VM: the power button first, powered off after the grace period; with mode force at once."""
    how = body or VmStop()
    vm_id = await _id(desk, asking, vm)
    return await done.answer(
        lambda ctx: stop_vm(desk.control, ctx, vm_id, mode=how.mode, grace_seconds=how.grace_seconds), show_operation, status=202, location=OPERATIONS
    )


VERBS: tuple[tuple[str, str, Callable[[Control, Context, str], Awaitable[ModelOperation]]], ...] = (
    ("start", "Start a VM.", start_vm),
    ("pause", "Freeze a VM where it is.", pause_vm),
    ("resume", "Let a paused VM go on.", resume_vm),
    ("reboot", "Ask the guest to reboot.", reboot_vm),
    ("reset", "Press the reset button: the guest is not asked.", reset_vm),
)


def _add_verb(verb: str, text: str, command: Callable[[Control, Context, str], Awaitable[ModelOperation]]) -> None:
    async def say(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: Annotated[Nothing | None, Body()] = None) -> Response:
        vm_id = await _id(desk, asking, vm)
        return await done.answer(lambda ctx: command(desk.control, ctx, vm_id), show_operation, status=202, location=OPERATIONS)

    router.add_api_route(f"/{{vm}}/{verb}", say, methods=["POST"], status_code=202, response_model=Operation, name=verb, description=text, summary=text)


for _verb in VERBS:
    _add_verb(*_verb)
