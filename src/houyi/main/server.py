"""The control plane put together: store, control, reconcilers, the API and the agents' listener. `main` runs it."""

import asyncio
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from houyi.agent.identity import Identity
from houyi.api.agents.listener import AgentsListener
from houyi.api.app import create_app, end_streams
from houyi.base.clock import SystemClock
from houyi.base.config import Settings
from houyi.base.ids import RandomIds
from houyi.base.log import get_log
from houyi.base.secret_file import write_secret
from houyi.control.ca import Authority
from houyi.control.commands.join_token import create_join_token
from houyi.control.control import PLATFORM, Control
from houyi.control.first_start import first_start, renew_admin_token
from houyi.control.images import open_image
from houyi.control.reconcilers.all import RECONCILERS
from houyi.control.reconcilers.images import run_imports
from houyi.control.reconcilers.runner import run_forever
from houyi.model.errors import Failed, Invalid
from houyi.model.ids import ImageId
from houyi.store.store import Store

log = get_log(__name__)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def admin_token_file(settings: Settings) -> Path:
    return settings.state_dir / "admin.token"


def _keep_admin(settings: Settings, text: str | None) -> None:
    if text is None:
        admin_token_file(settings).unlink(missing_ok=True)
    else:
        write_secret(admin_token_file(settings), f"{text}\n".encode())


async def recover_admin(settings: Settings) -> Path:
    """One more administrator's token, in place of the first one: for who has lost all but is root here. A server may run meanwhile.

    :raise Failed: `no_platform_here`. :raise Unavailable: `store_unreachable`.
    """
    if not settings.server.database_url and not (settings.state_dir / "houyi.db").exists():
        raise Failed("no_platform_here", f"there is no platform in {settings.state_dir}: give the server's settings, or start one with `houyi up`")
    store = await Store.open(_database(settings))
    try:
        control = Control(store, SystemClock(), RandomIds(), settings)
        _keep_admin(settings, await renew_admin_token(control, f"recovered-{control.ids.new()[:8]}"))
    finally:
        await store.close()
    return admin_token_file(settings)


def _database(settings: Settings) -> str:
    return settings.server.database_url or f"sqlite:///{settings.state_dir / 'houyi.db'}"


async def serve(settings: Settings, local_join_file: Path | None = None) -> None:
    """Until cancelled. :raise Invalid: `api_needs_tls`. :raise Unavailable: `store_unreachable`, `port_taken`."""
    own = settings.server
    if own.api_host not in _LOOPBACK and not (own.api_tls_cert and own.api_tls_key):
        raise Invalid("api_needs_tls", f"the API would listen on {own.api_host} without TLS: set server.api_tls_cert and server.api_tls_key")
    settings.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    clock, ids = SystemClock(), RandomIds()
    store = await Store.open(_database(settings))
    try:
        control = Control(store, clock, ids, settings)
        authority = Authority.open(settings.state_dir / "ca", clock)
        await first_start(control, settings.agent.nat_cidr, partial(_keep_admin, settings))
        await _offer_join(control, authority, local_join_file)
        await _run(control, authority)
    finally:
        await store.close()


async def _run(control: Control, authority: Authority) -> None:
    async def read_image(image_id: ImageId, offset: int, length: int) -> bytes:
        reader = await open_image(control, image_id)
        try:
            return await reader(offset, length)
        finally:
            reader.close()

    listener = AgentsListener(control, authority, read_image)
    await listener.start()
    own, holder = control.settings.server, _holder(control)
    app = create_app(control, listener, authority.fingerprint)
    config = uvicorn.Config(
        app,
        host=own.api_host,
        port=own.api_port,
        ssl_certfile=own.api_tls_cert,
        ssl_keyfile=own.api_tls_key,
        log_config=None,
        lifespan="off",  # the app has none; on, uvicorn complains when it is cancelled
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        ws_max_size=1 << 20,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            for reconciler in RECONCILERS:
                tasks.create_task(run_forever(control, reconciler, holder), name=reconciler.name)
            tasks.create_task(run_imports(control, holder), name="images")
            tasks.create_task(_Api(config, app).serve(), name="api")
            log.info("server_started", api=f"{own.api_host}:{own.api_port}", agents=f"{own.agents_host}:{listener.port}")
    finally:
        with suppress(Exception):
            await listener.stop()


class _Api(uvicorn.Server):
    """Uvicorn catches the signal that ends the process and raises it again once its requests are answered; watches are told to end first."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        end_streams(self._app)
        super().handle_exit(sig, frame)


def _holder(control: Control) -> str:
    """Who holds this server's leases: the same after a restart, which then need not wait for its own old ones to run out."""
    port = control.settings.server.api_port
    return f"{socket.gethostname()}:{port}" if port else control.ids.new()


async def _offer_join(control: Control, authority: Authority, local_join_file: Path | None) -> None:
    """Leave a join token for the agent of this very machine, as long as it has not joined."""
    if local_join_file is None or Identity(control.settings.state_dir / "agent" / "identity").joined:
        return
    _token, text = await create_join_token(control, PLATFORM, authority.fingerprint, lifetime_seconds=86400.0)
    write_secret(local_join_file, f"{text}\n".encode())
