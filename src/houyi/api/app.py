"""The REST API as an ASGI application."""

from fastapi import FastAPI

from houyi.api.tunnels import Tunnels
from houyi.control.control import Control


def create_app(control: Control, tunnels: Tunnels, ca_fingerprint: str) -> FastAPI:
    """All routes; `ca_fingerprint` goes into join tokens."""
    app = FastAPI(title="Houyi")
    app.state.control, app.state.tunnels, app.state.ca_fingerprint = control, tunnels, ca_fingerprint

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
