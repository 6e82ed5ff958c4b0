"""/v1/hosts/{host}/report: what a host can do for VMs, what that means, and what to do; administrators only."""

from fastapi import APIRouter
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Administrator, AtDesk, Reference
from houyi.planning.host_report import items
from houyi.store.views.host_report import get_report
from houyi.wire.v1.host_report import HostReport, show_report

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])


@router.get("/{host}/report", response_model=HostReport)
async def report(desk: AtDesk, _asking: Administrator, host: Reference) -> Response:
    """What a host can do for VMs and what costs performance there, each with what it means and what to do."""
    found, told = await desk.control.store.read(lambda c: get_report(c, host))
    return shown(show_report(found, told, items(told.traits)))
