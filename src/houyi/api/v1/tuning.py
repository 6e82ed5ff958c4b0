"""/v1/knobs and /v1/profiles: what there is, the same on every platform of this version; and what a VM is asked to run with."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, Caller, Reference
from houyi.api.desk import Desk
from houyi.api.once import DoneOnce
from houyi.control.commands.exits import profile_exits
from houyi.control.control import Context
from houyi.model.exits import ExitProfile
from houyi.model.telemetry import VmRates
from houyi.model.tuning import Setting, Takes, TuningAsk
from houyi.model.vm import Vm
from houyi.planning.exits import symptoms
from houyi.planning.tuning.advise import Picture, Place, advise, picture_of, traced_picture
from houyi.planning.tuning.knobs import BY_NAME, KNOBS, knob_named
from houyi.planning.tuning.profiles import PROFILES, profile_named
from houyi.planning.tuning.resolve import differs, vm_settings
from houyi.store.views.host import get_host
from houyi.store.views.telemetry import history
from houyi.store.views.vm import get_vm
from houyi.wire.v1.exits import VmExitsAsk
from houyi.wire.v1.tuning import Knob, KnobPage, Profile, ProfilePage, VmAdvice, VmSetting, VmTuning, show_advice, show_knob, show_profile

of_knobs = APIRouter(prefix="/v1/knobs", tags=["knobs"])
of_profiles = APIRouter(prefix="/v1/profiles", tags=["profiles"])
of_vms = APIRouter(prefix="/v1/vms", tags=["vms"])


@of_knobs.get("", response_model=KnobPage)
async def list_all(desk: AtDesk, _asking: Asking) -> Response:
    """List everything that can be tuned."""
    return shown(KnobPage(items=[show_knob(knob) for knob in KNOBS], revision=desk.control.store.revision, next=None))


@of_knobs.get("/{knob}", response_model=Knob)
async def show(_asking: Asking, knob: Reference) -> Response:
    """Show a knob: what it does, needs and risks, and whether it was measured."""
    return shown(show_knob(knob_named(knob)))


@of_profiles.get("", response_model=ProfilePage)
async def list_profiles(desk: AtDesk, _asking: Asking) -> Response:
    """List named sets of settings."""
    return shown(ProfilePage(items=[show_profile(profile) for profile in PROFILES], revision=desk.control.store.revision, next=None))


@of_profiles.get("/{profile}", response_model=Profile)
async def show_one(_asking: Asking, profile: Reference) -> Response:
    """Show a named set of settings."""
    return shown(show_profile(profile_named(profile)))


@of_vms.get("/{vm}/tuning", response_model=VmTuning)
async def tuning(desk: AtDesk, asking: Asking, vm: Reference) -> Response:
    """Show what a VM is asked to run with on its host, where each setting comes from, and what the guest runs with."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    host_id = found.host_id
    host = None if host_id is None else await desk.control.store.read(lambda c: get_host(c, host_id))
    of_host = TuningAsk() if host is None else host.tuning
    settings = vm_settings(found.desired.spec, None if host is None else host.facts, of_host.profile)
    running = {} if found.observed is None else dict(found.observed.tuned)
    return shown(
        VmTuning(
            profile=found.desired.spec.profile,
            host_profile=of_host.profile,
            settings=[_show(one, found, running) for one in settings],
            tuned=running,
        )
    )


def _show(setting: Setting, vm: Vm, running: dict[str, str]) -> VmSetting:
    knob = BY_NAME.get(setting.knob)
    runs = vm.observed is not None and vm.observed.started_at > 0
    return VmSetting(
        knob=setting.knob,
        value=setting.value,
        source=setting.source,
        why_not=setting.why_not,
        running=running.get(knob.name, knob.default) if runs and knob is not None else "",
        in_force=runs and not setting.why_not and not differs({setting.knob: setting.value}, running),
        takes=Takes.NEXT_START if knob is None else knob.takes,
    )


@of_vms.get("/{vm}/advice", response_model=VmAdvice)
async def advised(desk: AtDesk, asking: Asking, vm: Reference) -> Response:
    """Show what could be tuned for what a VM did in its newest period, the most useful first. What concerns its host is for administrators."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    rates = await _newest(desk, found)
    picture = None if rates is None else picture_of(rates)
    return shown(_advised(picture, 0.0 if rates is None else rates.seconds, await _place(desk, asking, found)))


@of_vms.post("/{vm}/advice", response_model=VmAdvice)
async def trace(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: Annotated[VmExitsAsk | None, Body()] = None) -> Response:
    """Trace what makes a VM exit, by reason, and show what could be tuned for that; the answer comes after as long as is asked for."""
    scope = asking.scope_of(vm)
    found = await desk.control.store.read(lambda c: get_vm(c, vm, scope))
    rates, place = await _newest(desk, found), await _place(desk, asking, found)
    seconds = (body or VmExitsAsk()).seconds

    async def act(ctx: Context) -> ExitProfile:
        return await profile_exits(desk.control, ctx, found, seconds, desk.tunnels.profile)

    def show(one: ExitProfile) -> VmAdvice:
        return _advised(traced_picture(symptoms(one), one.count / one.seconds, rates), one.seconds, place)

    return await done.answer(act, show, status=200, location="")


async def _newest(desk: Desk, vm: Vm) -> VmRates | None:
    periods = await desk.control.store.read(lambda c: history(c, vm.desired.id, 0.0))
    return periods[-1].rates if periods else None


async def _place(desk: Desk, asking: Caller, vm: Vm) -> Place:
    host_id = vm.host_id
    host = None if host_id is None else await desk.control.store.read(lambda c: get_host(c, host_id))
    return Place(
        running={} if vm.observed is None else vm.observed.tuned,
        asked=vm.desired.spec.knobs,
        facts=None if host is None else host.facts,
        host=host.tuned.values if asking.is_admin and host is not None and host.tuned is not None else {},
    )


def _advised(picture: Picture | None, seconds: float, place: Place) -> VmAdvice:
    if picture is None:
        return VmAdvice(exits_s=0.0, symptoms={}, seconds=0.0, advice=[])
    return VmAdvice(
        exits_s=picture.exits_s,
        symptoms={symptom.value: count for symptom, count in picture.exits.items()},
        seconds=seconds,
        advice=[show_advice(one) for one in advise(picture, place)],
    )
