"""The REST API as an ASGI application: its routes, its layers, its document.

From the outside in: access.py (request id, log, counts, crashes), gate.py (token, size and kind of the body), the framework (validation), the routes.
"""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from houyi import __version__
from houyi.api import docs_page
from houyi.api.access import Access
from houyi.api.desk import Desk
from houyi.api.doorkeeper import Doorkeeper
from houyi.api.figures import Figures
from houyi.api.gate import Gate
from houyi.api.openapi import describe
from houyi.api.problems import on_http, on_invalid, on_refusal
from houyi.api.tunnels import Tunnels
from houyi.api.v1 import (
    about,
    console,
    event,
    experiment,
    host,
    host_report,
    image,
    join_token,
    migration,
    network,
    operation,
    placement,
    placement_group,
    pool,
    project,
    ssh_key,
    telemetry,
    token,
    tuning,
    vm,
    vm_type,
)
from houyi.control.control import Control
from houyi.model.errors import HouyiError, Invalid

ROUTERS = (
    about.router,
    vm.router,
    migration.router,
    telemetry.router,
    experiment.router,
    console.router,
    placement.router,
    vm_type.router,
    tuning.of_knobs,
    tuning.of_profiles,
    tuning.of_vms,
    image.router,
    network.router,
    host.router,
    host_report.router,
    placement_group.router,
    pool.router,
    ssh_key.router,
    project.router,
    token.router,
    join_token.router,
    operation.router,
    event.router,
    docs_page.router,
)


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    """'vms_create', 'vm-types_list_all': the tag and the function."""
    return f"{route.tags[0] if route.tags else 'pages'}_{route.name}"


async def _known_query(request: HTTPConnection) -> None:
    """A parameter that is not known is a mistake, not a wish to be passed over. :raise Invalid: `query_unknown`."""
    known = request.app.state.query_names.get((request.scope.get("method", ""), getattr(request.scope.get("route"), "path", "")))
    unknown = sorted(set(request.query_params) - known)[:3] if known is not None else []
    if unknown:
        raise Invalid(
            "query_unknown", f"there is no query parameter {', '.join(repr(name[:64]) for name in unknown)} here: see /openapi.json", known=sorted(known)
        )


def bare_app() -> FastAPI:
    """The routes without anything behind them: what the document is made from."""
    app = _Application(
        title="Houyi",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(_known_query)],
        generate_unique_id_function=_operation_id,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


def create_app(control: Control, tunnels: Tunnels, ca_fingerprint: str) -> FastAPI:
    """:param ca_fingerprint: of the CA that signs hosts' certificates (`Authority.fingerprint`); goes into join tokens."""
    app = bare_app()
    figures = Figures()
    app.state.desk = Desk(control, tunnels, ca_fingerprint, Doorkeeper(control), figures)
    app.add_exception_handler(HouyiError, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_middleware(Gate, max_body_bytes=control.settings.server.max_body_bytes)
    app.add_middleware(Access, figures=figures)
    app.state.query_names = {
        (method.upper(), path): {one["name"] for one in described.get("parameters", ()) if one["in"] == "query"}
        for path, item in app.openapi()["paths"].items()
        for method, described in item.items()
    }
    return app


def end_streams(app: FastAPI) -> None:
    """Let watches and waits end, as the first step of a shutdown: the server would wait for them."""
    app.state.desk.closing.set()
