"""/v1 itself, who the caller is, and what machines ask: health and metrics."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from houyi import __version__
from houyi.api.answers import shown
from houyi.api.caller import Administrator, Asking, AtDesk
from houyi.store.store import newest_revision
from houyi.wire.v1.project import About, Health, WhoAmI
from houyi.wire.v1.shape import rfc3339_or_none

router = APIRouter(tags=["about"])

NOUNS = ("vms", "vm-types", "images", "networks", "hosts", "ssh-keys", "projects", "tokens", "join-tokens", "operations", "events")


@router.get("/v1", response_model=About)
async def about(desk: AtDesk, _asking: Asking) -> Response:
    """What answers here, and where its parts are."""
    links = {noun: f"/v1/{noun}" for noun in NOUNS} | {"whoami": "/v1/whoami", "openapi": "/openapi.json", "docs": "/docs", "metrics": "/metrics"}
    return shown(About(name="houyi", version=__version__, revision=desk.control.store.revision, links=links))


@router.get("/v1/whoami", response_model=WhoAmI)
async def whoami(asking: Asking) -> Response:
    """Whose token the request carries, and the project that it acts in."""
    token = asking.token
    return shown(
        WhoAmI(
            token_id=token.id,
            token_name=token.name,
            role=token.role,
            project_id=asking.project.id,
            project_name=asking.project.name,
            expires_at=rfc3339_or_none(token.expires_at),
        )
    )


@router.get("/healthz", response_model=Health)
async def health(desk: AtDesk) -> Response:
    """Whether the server answers and its store does; 503 if not."""
    await desk.control.store.read(newest_revision)
    return shown(Health(status="ok"))


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}})
async def metrics(desk: AtDesk, _asking: Administrator) -> Response:
    """Figures for Prometheus, with an administrator's token."""
    return Response(await desk.figures.text(desk.control), media_type=CONTENT_TYPE_LATEST)
