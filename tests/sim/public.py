"""The whole platform behind its public API, in a thread: a server, an agent on a simulated machine, an administrator's token. For clients' tests."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from houyi.api.app import create_app, end_streams
from houyi.base.log import set_up
from houyi.control.commands.token import create_token
from houyi.model.token import Role
from sim.whole import Platform


@dataclass
class Public:
    url: str
    token: str
    member: str
    platform: Platform
    stop: Callable[[], None]


async def _run(folder: Path, ready: "Future[Public]") -> None:
    stop = asyncio.Event()
    async with Platform(folder, f"sqlite:///{folder / 'houyi.db'}") as platform:
        await platform.add_host("node1")
        await platform.add_image("disk")
        _, token = await create_token(platform.control, platform.ctx, "test", Role.ADMIN)
        _, member = await create_token(platform.control, platform.ctx, "member", Role.MEMBER)
        app = create_app(platform.control, platform.server.listener, platform.server.authority.fingerprint)
        api = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=2))
        serving = asyncio.create_task(api.serve())
        while not api.started:
            await asyncio.sleep(0.01)
            assert not serving.done()
        url = f"http://127.0.0.1:{api.servers[0].sockets[0].getsockname()[1]}"
        loop = asyncio.get_running_loop()
        ready.set_result(Public(url, token, member, platform, lambda: _set(loop, stop)))
        await stop.wait()
        end_streams(app)
        api.should_exit = True
        await serving


def _set(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.call_soon_threadsafe(stop.set)


@contextmanager
def public_platform(folder: Path) -> Iterator[Public]:
    ready: Future[Public] = Future()

    def work() -> None:
        try:
            asyncio.run(_run(folder, ready))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    set_up("error", "json")
    thread = threading.Thread(target=work)
    thread.start()
    public = ready.result(30)
    try:
        yield public
    finally:
        public.stop()
        thread.join(30)
        assert not thread.is_alive()
        structlog.reset_defaults()
